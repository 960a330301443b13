//! variants: O2,static,musl-dynamic,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* calloc gives zeroes, whether the memory was used before or is fresh from the kernel. */
static int zero(const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i]) return 0;
    return 1;
}

int main(void) {
    static const size_t sizes[] = {8, 24, 100, 1000, 5000, 40000, 130000, 200000, 3000000, 40000000};
    unsigned char *dirty[10];
    for (int i = 0; i < 10; i++) {
        dirty[i] = malloc(sizes[i]);
        memset(dirty[i], 0xee, sizes[i]);
    }
    for (int i = 0; i < 10; i++) free(dirty[i]);
    snap_ready();
    int ok = 0;
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 10; i++) {
            unsigned char *p = calloc(1, sizes[i]);
            ok += zero(p, sizes[i]);
            memset(p, 0xdd, sizes[i]);
            free(p);
        }
    printf("%d of 30\n", ok);
    return 0;
}
