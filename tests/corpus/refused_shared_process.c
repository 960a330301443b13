//! at: ready
//! variants: O2,static
//! refused: shares the program's memory (clone) | shares the program's descriptors (clone) | end it before the snapshot
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static char stacks[2][65536] __attribute__((aligned(16)));
static volatile int counter, last;

static int counts(void *unused) {
    (void)unused;
    while (!last) {
        counter++;
        usleep(1000);
    }
    last = 2;
    return 0;
}

/* Its child has no parent here, since the process between the two ends at once. */
static int leaves(void *unused) {
    (void)unused;
    return clone(counts, stacks[1] + sizeof stacks[1], CLONE_VM | CLONE_FILES, NULL) < 0;
}

int main(void) {
    int status;
    pid_t child = clone(leaves, stacks[0] + sizeof stacks[0], CLONE_VM | CLONE_FILES | SIGCHLD, NULL);
    if (child < 0 || waitpid(child, &status, 0) != child || status) return 1;
    while (!counter) usleep(1000);
    snap_ready();
    last = 1;
    for (int i = 0; i < 5000 && last != 2; i++) usleep(1000);
    printf("it goes on: %d\n", last == 2);
    return 0;
}
