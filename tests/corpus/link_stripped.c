//! at: main
//! flags: -s
//! cc: gcc,clang
//! variants: O0,O2,static,static-pie,nopie,musl-dynamic,musl-static,musl-static-pie
//! snap-args: a b c
//! run: new | | K=V | 1
//! run: x y z | | | 3
#include <stdio.h>
#include <stdlib.h>

/* main has no symbol. */
int main(int argc, char **argv) {
    printf("%s %s\n", argc > 1 ? argv[1] : "-", getenv("K") ? getenv("K") : "-");
    return argc - 1;
}
