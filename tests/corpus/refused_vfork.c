//! at: ready
//! variants: O2,musl-dynamic
//! refused: waits for a child process that uses its memory (vfork, posix_spawn) | wait until it has executed
#define _GNU_SOURCE
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int gate[2];

/* The child reads before it executes anything; no stop ends the wait of its parent. */
static void *spawns(void *unused) {
    pid_t child = vfork();
    if (child == 0) {
        char byte;
        _exit(read(gate[0], &byte, 1) == 1 ? 7 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("child %d\n", WEXITSTATUS(status));
    return unused;
}

int main(void) {
    pthread_t thread;
    if (pipe(gate)) return 1;
    pthread_create(&thread, NULL, spawns, NULL);
    usleep(50000);
    snap_ready();
    if (write(gate[1], "x", 1) != 1) return 1;
    pthread_join(thread, NULL);
    puts("done");
    return 0;
}
