//! at: main
//! cc: gcc,clang
//! variants: O0,O2,static,musl-dynamic,musl-static
//! snap-env: OLD=1
//! run: | | FIRST=1 SECOND=2 | 0
#include <stdio.h>
#include <string.h>

/* The third argument of main. */
int main(int argc, char **argv, char **envp) {
    (void)argv;
    for (char **e = envp; *e; e++)
        if (strncmp(*e, "SNAPFN_", 7)) puts(*e);
    return argc != 1;
}
