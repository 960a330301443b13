/* What an instance finds by /proc/self/exe: prints the last part of that link, and what the program says that is started by it. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"

int main(int argc, char **argv) {
    char path[4096] = "";
    int status;
    if (argc > 1 && !strcmp(argv[1], "--helper")) {
        puts("helper");
        return 0;
    }

    snap_ready();

    CHECK(readlink("/proc/self/exe", path, sizeof path - 1) > 0);
    printf("%s\n", strrchr(path, '/') + 1);
    fflush(stdout);
    /* Without a child, nobody has the program mapped any more who could say what it was. */
    pid_t child = getenv("DIRECT") ? 0 : fork();
    CHECK(child >= 0);
    if (child == 0) {
        dup2(1, 2);
        execl("/proc/self/exe", "itself", "--helper", (char *)NULL);
        _exit(9);
    }
    CHECK(waitpid(child, &status, 0) == child);
    /* The descriptor that the loader had open for it is closed. */
    CHECK(dup(0) == 3);
    return WEXITSTATUS(status);
}
