//! at: main
//! cc: gcc,clang
//! variants: O0,O2,O3,lto,static,static-pie,nopie,musl-dynamic,musl-static,musl-static-pie
//! run: | | | 17
#include <stdio.h>

/* The smallest program. */
int main(void) {
    puts("hello");
    return 17;
}
