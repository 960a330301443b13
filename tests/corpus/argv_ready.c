//! cc: gcc,clang
//! variants: O0,O2,static,musl-static
//! snap-args: old older oldest
//! run: new | | | 0
//! run: a b c d e f | | | 0
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* The program reads its arguments after snap_ready(). A program may have kept values derived from the old ones, so the
 * old ones stay readable. */
static char **saved;

int main(int argc, char **argv) {
    saved = argv;
    int before = argc;
    if (snap_ready()) {
        argc = (int)snap_argc();
        argv = snap_argv();
    }
    for (int i = 1; i < argc; i++) printf("[%s]\n", argv[i]);
    int readable = saved[0] != NULL && saved[before] == NULL;
    for (int i = 0; i < before; i++) readable &= saved[i][0] != 0;
    printf("end %d, old ones readable %d\n", argv[argc] == NULL, readable);
    return 0;
}
