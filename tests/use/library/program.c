/* Does as its first argument says after the snapshot point. */
#include <snap.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char line[256] = "", cwd[4096];
    if (snap_ready()) { argc = snap_argc(); argv = snap_argv(); }
    if (argc > 1 && !strcmp(argv[1], "unique")) {
        unsigned long canary, *random = (unsigned long *)getauxval(AT_RANDOM);
        __asm__("mov %%fs:0x28, %0" : "=r"(canary));
        return printf("%d %016lx %016lx %016lx %016lx\n", (int)getpid(), canary, random[0], random[1],
            (unsigned long)snap_generation()) < 0;
    }
    if (argc > 1 && !strcmp(argv[1], "descriptors")) {
        int open = 0;
        for (int fd = 3; fd < 1024; fd++) open += fcntl(fd, F_GETFD) >= 0;
        return printf("%d\n", open) < 0;
    }
    if (argc > 1 && !strcmp(argv[1], "abort")) abort();
    if (argc > 1 && !strcmp(argv[1], "leave")) {
        int child = (int)fork();
        if (child) return printf("%d\n", child) < 0;
        close(1);
        for (;;) pause();
    }
    if (argc > 1 && !strcmp(argv[1], "wait")) for (;;) pause();
    if (!fgets(line, sizeof line, stdin)) line[0] = 0;
    printf("%d", argc - 1);
    for (int i = 1; i < argc; i++) printf(" [%s]", argv[i]);
    printf(" %s %s %s", getenv("COLOUR") ? getenv("COLOUR") : "none", getcwd(cwd, sizeof cwd), line);
    fprintf(stderr, "told\n");
    return argc > 2 ? atoi(argv[2]) : 0;
}
