//! at: ready
//! variants: O2,musl-static
#define _GNU_SOURCE
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

static volatile int ticks;

static void tick(int unused) {
    (void)unused;
    ticks++;
}

/* A periodic timer whose signal is pending is armed again when the signal is taken. */
int main(void) {
    struct itimerval timer = {{0, 2000}, {0, 1000}};
    struct timespec start, now, wait = {0, 30000000};
    sigset_t alarm;
    signal(SIGALRM, tick);
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    nanosleep(&wait, NULL);
    snap_ready();
    sigprocmask(SIG_UNBLOCK, &alarm, NULL);
    clock_gettime(CLOCK_MONOTONIC, &start);
    do clock_gettime(CLOCK_MONOTONIC, &now);
    while (ticks < 10 && now.tv_sec - start.tv_sec < 10);
    getitimer(ITIMER_REAL, &timer);
    printf("goes on: %d, every %ld us\n", ticks >= 10, (long)timer.it_interval.tv_usec);
    return 0;
}
