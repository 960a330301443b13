//! at: main
//! cc: gcc,clang
//! variants: O0,O2,lto,static,static-pie,nopie,musl-dynamic,musl-static,musl-static-pie
//! snap-args: at the snapshot
//! run: one 'two words' "" four | | | 0
//! run: | | | 0
//! run: {} -x --long=1 | | | 0
#include <stdio.h>
#include <string.h>

/* The arguments are the instance's; argv[0] is the program's own name. */
int main(int argc, char **argv) {
    printf("argc %d, argv[0] is a path: %d\n", argc, strchr(argv[0], '/') != NULL);
    for (int i = 1; i < argc; i++) printf("[%s]\n", argv[i]);
    printf("end is null: %d\n", argv[argc] == NULL);
    return argc > 100;
}
