//! at: main,ready
//! cc: gcc,clang
//! variants: O0,O2,static,musl-static
//! snap-args: 1
//! run: 0 | | | 0
//! run: 7 | | | 7
//! run: 255 | | | 255
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    (void)argc;
    if (snap_ready()) argv = snap_argv();
    printf("leaving with %s\n", argv[1]);
    return atoi(argv[1]);
}
