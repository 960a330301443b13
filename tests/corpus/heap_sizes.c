//! cc: gcc,clang
//! variants: O0,O2,static,static-pie,nopie,musl-dynamic,musl-static,musl-static-pie
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Blocks of all sizes, from tiny to ones with a mapping of their own. */
enum { COUNT = 400 };
static unsigned char *block[COUNT];
static size_t size_of(int i) { return (size_t)1 + (size_t)i * (size_t)i * 7 % 300000; }

static int good(int i) {
    for (size_t k = 0; k < size_of(i); k++)
        if (block[i][k] != (unsigned char)(i + (int)k)) return 0;
    return 1;
}

static void fill(int i) {
    block[i] = malloc(size_of(i));
    for (size_t k = 0; k < size_of(i); k++) block[i][k] = (unsigned char)(i + (int)k);
}

int main(void) {
    for (int i = 0; i < COUNT; i++) fill(i);
    for (int i = 0; i < COUNT; i += 3) free(block[i]);
    snap_ready();
    int ok = 0;
    for (int i = 0; i < COUNT; i++) ok += i % 3 == 0 || good(i);
    for (int i = 1; i < COUNT; i += 3) free(block[i]);
    for (int i = 0; i < COUNT; i++)
        if (i % 3 != 2) fill(i);
    for (int i = 0; i < COUNT; i++) ok += good(i);
    for (int i = 0; i < COUNT; i++) free(block[i]);
    printf("%d of %d\n", ok, 2 * COUNT);
    return 0;
}
