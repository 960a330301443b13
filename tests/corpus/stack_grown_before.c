//! variants: O2,static,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* The stack grew and shrank before the snapshot; dead bytes below are of no interest afterwards. */
__attribute__((noinline)) static long down(long n) {
    volatile char frame[1000];
    memset((char *)frame, (int)n, sizeof frame);
    return (n ? down(n - 1) : 0) + (frame[10] == (char)n);
}

int main(void) {
    long before = down(6000);
    snap_ready();
    printf("%ld %ld\n", before, down(7000));
    return 0;
}
