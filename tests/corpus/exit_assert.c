//! run: | | | SIGABRT
#include <assert.h>
#include <snap.h>
#include <stdio.h>

int main(int argc, char **argv) {
    (void)argv;
    if (snap_ready()) argc = (int)snap_argc(), argv = snap_argv();
    puts("checking");
    fflush(stdout);
    assert(argc == 99);
    return 0;
}
