//! refused: exited with status 0 | before its snapshot point
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child marks the point, and the snapshotter does not trace children; the program itself never marks one. The
 * snapshotter makes no snapshot of either, and both go on. */
int main(void) {
    pid_t pid = fork();
    if (pid == 0) {
        printf("the child was restored: %d\n", snap_ready());
        fflush(stdout);
        _exit(3);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    printf("the child's status: %d\n", WEXITSTATUS(status));
    return 0;
}
