//! variants: O2,musl-static
//! snap-env: A=1
//! run: | | A=2 | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

extern char **environ;
int clearenv(void);

/* A program that cleared its environment runs without one. */
int main(void) {
    clearenv();
    setenv("ONLY", "this", 1);
    snap_ready();
    for (char **e = environ; e && *e; e++) puts(*e);
    printf("%s\n", getenv("A") ? "A is set" : "A is unset");
    return 0;
}
