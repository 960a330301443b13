//! variants: O2,static
//! run: | | | 0
#include <signal.h>
#include <snap.h>
#include <stdio.h>

/* The snapshot point lies inside a signal handler: the frame below it returns in the instance. */
static volatile int state;
static void handler(int sig) {
    (void)sig;
    state = 1;
    snap_ready();
    state = 2;
}

int main(void) {
    signal(SIGUSR1, handler);
    volatile double kept = 1.5;
    raise(SIGUSR1);
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    printf("%d %g blocked %d\n", state, kept, sigismember(&mask, SIGUSR1));
    return 0;
}
