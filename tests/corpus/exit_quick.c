//! run: | | | 5
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

static void quick(void) {
    puts("quick");
    fflush(stdout);
}
static void never(void) { puts("never"); }

int main(void) {
    at_quick_exit(quick);
    atexit(never);
    snap_ready();
    quick_exit(5);
}
