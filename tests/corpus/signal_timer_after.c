//! variants: O2,musl-static
//! run: | | | 0
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

/* A timer that is armed after the snapshot, with the handler from before it. */
static volatile int fired;
static void handler(int sig) {
    (void)sig;
    fired++;
}

int main(void) {
    signal(SIGALRM, handler);
    snap_ready();
    struct itimerval timer = {.it_value = {.tv_usec = 10000}};
    sigset_t block, old;
    sigemptyset(&block);
    sigaddset(&block, SIGALRM);
    sigprocmask(SIG_BLOCK, &block, &old);
    setitimer(ITIMER_REAL, &timer, NULL);
    while (!fired) sigsuspend(&old);
    printf("fired %d\n", fired);
    return 0;
}
