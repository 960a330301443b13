//! at: main,ready
//! cc: gcc,clang
//! flags: -Wl,-z,relro,-z,now
//! variants: O2,static,static-pie,musl-dynamic
//! run: read | | | 0
//! run: write | | | SIGSEGV
//! snap-args: read
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* Relocated constants are read-only after the start, in the instance too. */
static int one(void) { return 1; }
static int two(void) { return 2; }
static int (*const table[])(void) __attribute__((used, section(".data.rel.ro"))) = {one, two};

int main(int argc, char **argv) {
    (void)argc;
    if (snap_ready()) argv = snap_argv();
    printf("%d %d\n", table[0](), table[1]());
    fflush(stdout);
    if (!strcmp(argv[1], "write")) *(int (*volatile *)(void))&table[0] = two;
    printf("still running\n");
    return 0;
}
