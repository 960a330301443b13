//! flags: -pthread
//! variants: O2,static
//! run: | | | 0
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int state;
static void before(void) { state = 1; }
static void parent(void) { state += 10; }
static void child(void) { state += 20; }

int main(void) {
    pthread_atfork(before, parent, child);
    snap_ready();
    int status;
    pid_t pid = fork();
    if (!pid) _exit(state);
    waitpid(pid, &status, 0);
    printf("%d %d\n", state, WEXITSTATUS(status));
    return 0;
}
