//! at: main,ready
//! flags: -Wl,-z,norelro -Wl,-z,lazy
//! variants: O2,static,nopie,musl-dynamic
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lazy binding: functions that are called for the first time after the snapshot. */
int main(void) {
    int before = abs(-3);
    snap_ready();
    char *copy = strdup("bound late");
    printf("%d %s %ld %s\n", before, copy, labs(-7), strstr(copy, "late"));
    free(copy);
    return 0;
}
