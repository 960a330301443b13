//! at: ready
//! variants: O2,static
#define _GNU_SOURCE
#include <sched.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

static volatile int go, seen;
static char stack[65536] __attribute__((aligned(16)));

static int counts(void *unused) {
    (void)unused;
    while (!go) seen++;
    go = 2;
    for (;;) pause();
    return 0;
}

/* CLONE_UNTRACED hides a thread from the tracer of the one that makes it. */
int main(void) {
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_UNTRACED;
    if (clone(counts, stack + sizeof stack, flags, NULL) < 0) return 1;
    while (!seen) usleep(1000);
    snap_ready();
    int before = seen;
    usleep(50000);
    printf("it runs: %d\n", seen != before);
    go = 1;
    for (int i = 0; i < 5000 && go != 2; i++) usleep(1000);
    printf("it answers: %d\n", go == 2);
    fflush(stdout);
    _exit(0);
}
