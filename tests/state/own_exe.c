/* Prints the last part of the link /proc/self/exe, and the output of the program that it starts by that link. */
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
    /* Without a child, no process has the program mapped any more. */
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
