//! cc: gcc,clang
//! variants: O2,static,musl-dynamic,musl-static
//! init-output: before
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* snap_ready() flushes: no instance prints what the initialisation had buffered. */
int main(void) {
    printf("before");
    snap_ready();
    printf("after\n");
    return 0;
}
