//! variants: O2,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>

/* 16 GiB reserved, a few pages used. */
int main(void) {
    unsigned char *p = mmap(NULL, 16L << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return 1;
    for (long i = 0; i < 16; i++) p[(i << 30) + i * 4096] = (unsigned char)(i + 1);
    snap_ready();
    long sum = 0;
    for (long i = 0; i < 16; i++) sum += p[(i << 30) + i * 4096] + p[(i << 30) + (1 << 20)];
    p[(16L << 30) - 1] = 1;
    printf("%ld\n", sum);
    return 0;
}
