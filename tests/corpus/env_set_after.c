//! at: main,ready
//! variants: O2,static,musl-static
//! snap-env: A=1 B=2
//! run: | | A=3 C=4 | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* setenv and unsetenv on top of the instance's environment. */
int main(void) {
    snap_ready();
    setenv("A", "changed", 1);
    setenv("C", "not overwritten", 0);
    setenv("D", "new", 1);
    unsetenv("B");
    printf("%s %s %s %s\n", getenv("A"), getenv("C"), getenv("D"), getenv("B") ? "set" : "unset");
    unsetenv("A");
    printf("%s\n", getenv("A") ? "set" : "unset");
    return 0;
}
