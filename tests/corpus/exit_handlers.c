//! cc: gcc,clang
//! variants: O2,static,musl-dynamic,musl-static
//! run: | | | 9
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* Handlers registered before and after the snapshot, in reverse order; then destructors. */
static void first(void) { puts("first"); }
static void second(void) { puts("second"); }
static void third(void) { puts("third"); }
__attribute__((destructor)) static void last(void) { puts("destructor"); }

int main(void) {
    atexit(first);
    atexit(second);
    for (int i = 0; i < 40; i++) atexit(i % 10 ? third : second);
    snap_ready();
    atexit(third);
    puts("main ends");
    exit(9);
}
