//! at: main,ready
//! variants: O2,static,static-pie,nopie,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* A gigabyte of .bss, almost all of it untouched. */
static char bss[1 << 30];

int main(void) {
    bss[5] = 1;
    bss[600 << 20] = 2;
    snap_ready();
    bss[(1 << 30) - 1] = 3;
    printf("%d %d %d %d\n", bss[5], bss[600 << 20], bss[(1 << 30) - 1], bss[700 << 20]);
    return 0;
}
