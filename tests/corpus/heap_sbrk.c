//! variants: O2,static,static-pie,nopie
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* sbrk by hand, by much, during initialisation and afterwards. */
int main(void) {
    static char buffer[1024]; /* no malloc in between */
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    char *a = sbrk(8 << 20);
    if (a == (void *)-1) return 1;
    memset(a, 'a', 8 << 20);
    snap_ready();
    char *b = sbrk(32 << 20);
    if (b == (void *)-1) return 2;
    memset(b, 'b', 32 << 20);
    printf("adjacent %d, kept %c%c\n", b == a + (8 << 20), a[0], a[(8 << 20) - 1]);
    char *end = sbrk(-(16 << 20));
    printf("shrunk %d\n", end == b + (32 << 20) && (char *)sbrk(0) == b + (16 << 20));
    return 0;
}
