//! cc: gcc,clang
//! variants: O2,static,static-pie,musl-static
//! snap-args: 1
//! run: 100 | | | 0
//! run: 100000 | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Block operations at all sizes, in the versions that were picked at start. */
int main(int argc, char **argv) {
    (void)argc;
    if (snap_ready()) argv = snap_argv();
    size_t n = (size_t)atol(argv[1]);
    char *a = malloc(n + 64), *b = malloc(n + 64);
    unsigned long hash = 0;
    for (size_t off = 0; off < 32; off += 5) {
        memset(a, 'a' + (int)off, n + 63);
        a[n + 63] = 0;
        memcpy(b, a + off, n);
        b[n] = 0;
        memmove(b + 3, b, n);
        b[n + 3] = 0;
        hash = hash * 31 + strlen(b) + (memchr(b, 'z', n) != NULL) + (unsigned long)strcspn(a, "q");
        hash = hash * 31 + (memcmp(a, b, n) == 0) + (strrchr(a, a[5]) == a + n + 62);
    }
    printf("%lu\n", hash);
    free(a);
    free(b);
    return 0;
}
