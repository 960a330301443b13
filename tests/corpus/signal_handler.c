//! cc: gcc,clang
//! variants: O2,static,musl-dynamic,musl-static
//! run: | | | 0
#include <signal.h>
#include <snap.h>
#include <stdio.h>

static volatile sig_atomic_t count;
static void handler(int sig) { count += sig; }

int main(void) {
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    sigaction(SIGUSR1, &act, NULL);
    sigaction(SIGUSR2, &act, NULL);
    raise(SIGUSR1);
    snap_ready();
    raise(SIGUSR1);
    raise(SIGUSR2);
    sigaction(SIGUSR2, NULL, &old);
    printf("%d, restart %d, same handler %d\n", count, !!(old.sa_flags & SA_RESTART), old.sa_handler == handler);
    return 0;
}
