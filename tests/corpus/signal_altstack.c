//! variants: O2,static,musl-static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <setjmp.h>
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* An overflow of the main stack is handled on the alternate one, which was set up before. */
static sigjmp_buf back;
static char *alt;
static size_t alt_size;

static void handler(int sig) {
    char here;
    siglongjmp(back, sig == SIGSEGV && &here >= alt && &here < alt + alt_size ? 1 : 2);
}

__attribute__((noinline)) static long forever(volatile long n) {
    volatile char frame[4096];
    frame[n & 4095] = 1;
    return forever(n + 1) + frame[5];
}

int main(void) {
    alt_size = 65536;
    alt = malloc(alt_size);
    stack_t ss = {.ss_sp = alt, .ss_size = alt_size};
    sigaltstack(&ss, NULL);
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGSEGV, &act, NULL);
    snap_ready();
    for (int i = 0; i < 2; i++) {
        int how = sigsetjmp(back, 1);
        if (!how) forever(1);
        printf("overflow %d: %s\n", i, how == 1 ? "on the alternate stack" : "elsewhere");
    }
    return 0;
}
