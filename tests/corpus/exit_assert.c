//! run: | | | SIGABRT
#include <assert.h>
#include <snap.h>
#include <stdio.h>

int main(int argc, char **argv) {
    (void)argv;
    snap_ready();
    puts("checking");
    fflush(stdout);
    assert(argc == 99);
    return 0;
}
