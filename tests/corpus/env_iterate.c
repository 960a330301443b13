//! at: main,ready
//! cc: gcc,clang
//! variants: O0,O2,static,static-pie,nopie,musl-dynamic,musl-static,musl-static-pie
//! snap-env: OLD=1 SHARED=snapshot
//! run: | | SHARED=instance NEW=2 | 0
//! run: | | | 0
//! run: | | EMPTY= EQUALS=a=b=c LONG='a rather long value with blanks' | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

int main(void) {
    snap_ready();
    for (char **e = environ; *e; e++) puts(*e);
    printf("OLD %s SHARED %s NEW %s\n", getenv("OLD") ? "set" : "unset", getenv("SHARED") ? getenv("SHARED") : "-",
           getenv("NEW") ? getenv("NEW") : "-");
    return 0;
}
