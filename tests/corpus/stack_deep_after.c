//! cc: gcc,clang
//! variants: O0,O2,static,static-pie,nopie,musl-dynamic,musl-static
//! run: 6000 | | | 0
//! run: 10 | | | 0
//! snap-args: 1
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Recursion through almost all of the 8 MiB stack in the instance. */
__attribute__((noinline)) static long down(long n) {
    volatile char frame[1000];
    memset((char *)frame, (int)n, sizeof frame);
    long below = n ? down(n - 1) : 0;
    return below + (frame[500] == (char)n);
}

int main(int argc, char **argv) {
    (void)argc;
    if (snap_ready()) argv = snap_argv();
    printf("%ld frames\n", down(atol(argv[1])));
    return 0;
}
