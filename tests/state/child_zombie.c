/* A child that has ended and one that is gone stand in no snapshot's way; an instance has no children. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>
#include "check.h"

static pid_t child(int status) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) _exit(status);
    return pid;
}

int main(void) {
    siginfo_t info;
    int status;
    pid_t gone = child(1), zombie = child(2);
    CHECK(waitpid(gone, &status, 0) == gone && WEXITSTATUS(status) == 1);
    CHECK(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT) == 0);

    int restored = snap_ready();

    if (restored) CHECK(waitpid(-1, &status, 0) == -1 && errno == ECHILD);
    else CHECK(waitpid(zombie, &status, 0) == zombie && WEXITSTATUS(status) == 2);
    CHECK(waitpid(child(3), &status, 0) > 0 && WEXITSTATUS(status) == 3);
    puts("ok");
    return 0;
}
