//! variants: O2,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    size_t n = (64 << 20) / sizeof(uint64_t);
    uint64_t *data = malloc(n * sizeof *data), x = 88172645463325252ULL, sum = 0;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        data[i] = x;
    }
    snap_ready();
    for (size_t i = 0; i < n; i++) sum = sum * 31 + data[i];
    for (size_t i = 0; i < n; i += 4096) data[i] = i;
    printf("%016lx\n", (unsigned long)sum);
    for (size_t i = 0; i < n; i++) sum = sum * 31 + data[i];
    printf("%016lx\n", (unsigned long)sum);
    return 0;
}
