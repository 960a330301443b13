//! variants: O2,static
//! snap-env: BASE=snapshot
//! run: | | BASE=instance EXTRA=1 | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* The vector has been reallocated many times before the snapshot, and grows further after it. */
int main(void) {
    char name[32], value[32];
    for (int i = 0; i < 500; i++) {
        sprintf(name, "V%d", i);
        sprintf(value, "value %d", i);
        setenv(name, value, 1);
    }
    for (int i = 0; i < 500; i += 3) {
        sprintf(name, "V%d", i);
        unsetenv(name);
    }
    snap_ready();
    for (int i = 500; i < 1000; i++) {
        sprintf(name, "V%d", i);
        setenv(name, "late", 1);
    }
    int set = 0;
    for (int i = 0; i < 1000; i++) {
        sprintf(name, "V%d", i);
        set += getenv(name) != NULL;
    }
    printf("%d set, BASE %s, EXTRA %s, V1 %s\n", set, getenv("BASE"), getenv("EXTRA"), getenv("V1"));
    return 0;
}
