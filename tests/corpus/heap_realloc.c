//! variants: O2,static,musl-dynamic,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Blocks with a mapping of their own grow by mremap, small ones move. */
int main(void) {
    size_t big = 1 << 20, small = 16;
    unsigned char *b = malloc(big), *s = malloc(small);
    memset(b, 'b', big);
    memset(s, 's', small);
    b = realloc(b, big *= 2);
    memset(b + big / 2, 'c', big / 2);
    snap_ready();
    for (int i = 0; i < 5; i++) {
        b = realloc(b, big * 2);
        memset(b + big, 'd', big);
        big *= 2;
    }
    for (int i = 0; i < 12; i++) {
        s = realloc(s, small * 2);
        memset(s + small, 's', small);
        small *= 2;
    }
    size_t counts[3] = {0};
    for (size_t i = 0; i < big; i++) counts[b[i] - 'b']++;
    size_t n = 0;
    for (size_t i = 0; i < small; i++) n += s[i] == 's';
    printf("%zu %zu %zu, %zu\n", counts[0], counts[1], counts[2], n);
    b = realloc(b, 100);
    printf("%.5s\n", b);
    free(b);
    free(s);
    return 0;
}
