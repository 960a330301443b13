//! cc: gcc,clang
//! variants: O0,O2,musl-static
//! run: 3 | | | 0
//! run: 300000 | | | 0
//! snap-args: 9
#include <alloca.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    int vla_size = 1000 + argc;
    int vla[vla_size];
    for (int i = 0; i < vla_size; i++) vla[i] = i;
    char *before = alloca(5000);
    memset(before, 'x', 5000);
    if (snap_ready()) argv = snap_argv();
    size_t n = (size_t)atol(argv[1]);
    char *after = alloca(n);
    memset(after, 'y', n);
    long sum = 0;
    for (int i = 0; i < vla_size; i++) sum += vla[i];
    printf("%ld %c%c %c%c\n", sum, before[0], before[4999], after[0], after[n - 1]);
    return 0;
}
