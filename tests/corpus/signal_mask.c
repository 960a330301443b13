//! variants: O2,static,musl-static
//! run: | | | 0
#include <signal.h>
#include <snap.h>
#include <stdio.h>

static volatile int delivered;
static void handler(int sig) { delivered += sig == SIGUSR1 ? 1 : 10; }

int main(void) {
    signal(SIGUSR1, handler);
    signal(SIGUSR2, handler);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    snap_ready();
    raise(SIGUSR1);
    raise(SIGUSR2);
    printf("blocked: %d\n", delivered);
    sigpending(&old);
    printf("pending %d %d\n", sigismember(&old, SIGUSR1), sigismember(&old, SIGUSR2));
    sigprocmask(SIG_SETMASK, NULL, &old);
    printf("mask %d %d %d\n", sigismember(&old, SIGUSR1), sigismember(&old, SIGCHLD), sigismember(&old, SIGUSR2));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    printf("delivered: %d\n", delivered);
    return 0;
}
