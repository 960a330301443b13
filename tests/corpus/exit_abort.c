//! cc: gcc,clang
//! variants: O2,static,musl-static
//! run: | | | SIGABRT
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    snap_ready();
    puts("aborting");
    fflush(stdout);
    abort();
}
