//! at: main,ready
//! cc: gcc,clang
//! variants: O2,static,nopie,static-pie
//! run: | | | 0
#include <snap.h>
#include <stdint.h>
#include <stdio.h>

/* Alignments larger than a page, in data and bss. */
static _Alignas(65536) int data = 5;
static _Alignas(2097152) char bss[100];
static char small_bss[10];

int main(void) {
    data++;
    bss[99] = 1;
    small_bss[9] = 2;
    snap_ready();
    printf("%d %d %d\n", data, bss[99], small_bss[9]);
    printf("%d %d\n", (uintptr_t)&data % 65536 == 0, (uintptr_t)bss % 2097152 == 0);
    return 0;
}
