//! at: main
//! cc: gcc,clang
//! variants: O2,static,musl-static
//! snap-env: CTOR=snapshot
//! run: | | CTOR=instance OTHER=instance | 0
//! run: | | | 0
#include <stdio.h>
#include <stdlib.h>

/* A constructor runs before main, so what it set belongs to the program. */
__attribute__((constructor)) static void early(void) {
    setenv("CTOR", "constructor", 1);
    setenv("ADDED", "constructor", 1);
}

int main(void) {
    printf("%s %s %s\n", getenv("CTOR"), getenv("ADDED"), getenv("OTHER") ? getenv("OTHER") : "-");
    return 0;
}
