//! variants: O2,static
//! libs: -lcrypt
//! flags: -D_DEFAULT_SOURCE
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* The kernel's randomness works, and a seeded generator continues where it was. */
int main(void) {
    unsigned char a[32] = {0}, b[32] = {0};
    srand(7), srandom(8), srand48(9);
    for (int i = 0; i < 100; i++) rand(), random(), lrand48();
    snap_ready();
    printf("%ld %d %d\n", (long)getrandom(a, 32, 0), getentropy(b, 32), memcmp(a, b, 32) != 0);
    printf("%d %ld %ld\n", rand(), random(), lrand48());
    return 0;
}
