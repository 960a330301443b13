//! variants: O2,musl-static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

static volatile int value, from_self;
static void handler(int sig, siginfo_t *info, void *context) {
    (void)sig, (void)context;
    value = info->si_value.sival_int;
    from_self = info->si_pid == getpid();
}

int main(void) {
    struct sigaction act = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN + 3, &act, NULL);
    snap_ready();
    sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 1234});
    printf("%d %d\n", value, from_self);
    return 0;
}
