//! variants: O2,static,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    static const size_t align[] = {16, 64, 4096, 65536, 2 << 20};
    void *before[5], *after[5];
    for (int i = 0; i < 5; i++) {
        if (posix_memalign(&before[i], align[i], 10000)) return 1;
        memset(before[i], i + 1, 10000);
    }
    snap_ready();
    int ok = 0;
    for (int i = 0; i < 5; i++) {
        after[i] = aligned_alloc(align[i], align[i]);
        ok += (uintptr_t)before[i] % align[i] == 0 && (uintptr_t)after[i] % align[i] == 0;
        ok += ((char *)before[i])[9999] == i + 1;
        free(before[i]);
    }
    printf("%d\n", ok);
    return 0;
}
