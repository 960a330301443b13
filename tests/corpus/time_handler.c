//! variants: O2,static,musl-static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

/* The point is marked in the inner of two handlers, the outer of which (a profiler on a stack of its own) has
 * interrupted a clock function: saved instruction pointers lie in frames on two stacks. */
static volatile int done, hits;

static void inner(int signal) {
    (void)signal;
    snap_ready();
    done = 1;
}

static void profile(int signal) {
    (void)signal;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (++hits == 20) {
        struct itimerval off = {{0, 0}, {0, 0}};
        setitimer(ITIMER_PROF, &off, NULL);
        raise(SIGUSR1);
    }
}

int main(void) {
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&stack, NULL);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = profile;
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    sigaction(SIGPROF, &action, NULL);
    action.sa_handler = inner;
    action.sa_flags = 0;
    sigaction(SIGUSR1, &action, NULL);
    struct itimerval often = {{0, 500}, {0, 500}};
    setitimer(ITIMER_PROF, &often, NULL);
    struct timespec last = {0}, now;
    int wrong = 0;
    while (!done) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        wrong |= now.tv_sec < last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec < last.tv_nsec);
        last = now;
    }
    printf("went on after %d signals, wrong %d\n", hits, wrong);
    return wrong;
}
