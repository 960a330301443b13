//! at: symbol:serve
//! cc: gcc,clang
//! variants: O0,O2,static,static-pie,nopie,musl-static
//! snap-args: old
//! run: | | K=V | 3
#include <stdio.h>
#include <stdlib.h>

static int prepared;

/* The snapshot is taken on entry, with the function's arguments in their registers. */
__attribute__((noinline)) int serve(int a, const char *b, double c) {
    printf("%d %s %g %d %s\n", a, b, c, prepared, getenv("K"));
    return a;
}

int main(void) {
    prepared = 77;
    return serve(3, "argument", 2.5);
}
