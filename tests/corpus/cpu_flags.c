//! variants: O2
//! run: 2.5 | | | 0
//! snap-args: 1
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* Long double values live on across the snapshot. */
int main(int argc, char **argv) {
    (void)argc;
    long double sum = 0;
    for (int i = 1; i < 1000; i++) sum += 1.0L / i;
    if (snap_ready()) argv = snap_argv();
    sum *= strtold(argv[1], NULL);
    printf("%.18Lf\n", sum);
    return 0;
}
