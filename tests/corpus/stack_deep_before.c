//! variants: O0,O2,static,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* The snapshot point lies under five megabytes of frames, which are then left. */
__attribute__((noinline)) static long down(long n) {
    volatile char frame[1000];
    memset((char *)frame, (int)n, sizeof frame);
    if (n == 0) snap_ready();
    long below = n ? down(n - 1) : 0;
    for (int i = 0; i < 1000; i++)
        if (frame[i] != (char)n) return -1000000;
    return below + 1;
}

int main(void) {
    printf("%ld frames\n", down(5000));
    printf("%ld frames again\n", down(3000));
    return 0;
}
