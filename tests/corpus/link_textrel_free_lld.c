//! at: main,ready
//! cc: clang
//! flags: -fuse-ld=lld
//! variants: O0,O2,static,static-pie,nopie
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* The segment layout of another linker. */
static int data[] = {4, 5, 6};
static int bss[100000];
static int *const pointer = &data[2];

int main(void) {
    bss[99999] = data[0]++;
    snap_ready();
    printf("%d %d %d\n", data[0], bss[99999], *pointer);
    return 0;
}
