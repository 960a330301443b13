//! cc: gcc,clang
//! variants: O0,O2,static,static-pie,nopie,musl-dynamic,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdint.h>
#include <stdio.h>

static __thread int initialised = 41;
static __thread char zero[300];
static __thread _Alignas(64) long aligned64 = 64;
static __thread _Alignas(4096) char page[5000] = "in the page";

int main(void) {
    initialised++;
    zero[299] = 9;
    page[4999] = 'e';
    snap_ready();
    printf("%d %d %d %ld %s %c\n", initialised, zero[0], zero[299], aligned64, page, page[4999]);
    printf("%d %d\n", (uintptr_t)&aligned64 % 64 == 0, (uintptr_t)page % 4096 == 0);
    return 0;
}
