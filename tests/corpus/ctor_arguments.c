//! at: ready
//! variants: O2,static
//! snap-args: same
//! run: same | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* glibc gives constructors argc, argv and envp. */
static int seen;
static char **vector;
__attribute__((constructor)) static void early(int argc, char **argv, char **envp) {
    seen = argc;
    vector = argv;
    (void)envp;
}

int main(int argc, char **argv) {
    int same = seen == argc && vector == argv;
    snap_ready();
    printf("%d %s\n", same, vector[1]);
    return 0;
}
