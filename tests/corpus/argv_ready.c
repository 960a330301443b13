//! cc: gcc,clang
//! variants: O0,O2,static,musl-static
//! snap-args: old older oldest
//! run: new | | | 0
//! run: a b c d e f | | | 0
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* A saved argv names the instance's arguments after the snapshot point. */
static char **saved;

int main(int argc, char **argv) {
    (void)argc;
    saved = argv;
    snap_ready();
    for (char **a = saved + 1; *a; a++) printf("saved [%s]\n", *a);
    for (int i = 1; argv[i]; i++) printf("local [%s]\n", argv[i]);
    puts("end");
    return 0;
}
