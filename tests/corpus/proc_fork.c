//! at: main,ready
//! cc: gcc,clang
//! variants: O2,static,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* An instance forks; child and parent have memory of their own. */
static int shared = 1;

int main(void) {
    char *heap = malloc(100000);
    heap[99999] = 'h';
    snap_ready();
    int fds[2], status;
    if (pipe(fds)) return 1;
    pid_t pid = fork();
    if (pid == 0) {
        shared = 2;
        heap[99999] = 'c';
        char text[32];
        int n = sprintf(text, "child %d %c", shared, heap[99999]);
        write(fds[1], text, (size_t)n);
        _exit(33);
    }
    char text[32] = {0};
    read(fds[0], text, sizeof text - 1);
    waitpid(pid, &status, 0);
    printf("%s, status %d, parent %d %c\n", text, WEXITSTATUS(status), shared, heap[99999]);
    return 0;
}
