//! cc: gcc,clang
//! variants: O0,O2,O3,static,musl-static
//! libs: -lm
//! snap-args: 1
//! run: 0.5 | | | 0
//! run: 12345.678 | | | 0
#include <complex.h>
#include <math.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* Functions that are chosen by what the CPU can do. */
int main(int argc, char **argv) {
    (void)argc;
    double warm = sin(1) + exp(1);
    if (snap_ready()) argv = snap_argv();
    double x = strtod(argv[1], NULL);
    printf("%.12g %.12g %.12g %.12g\n", warm, sin(x), exp(x / 100), pow(x, 1.5));
    printf("%.12g %.12g %.12g\n", fma(x, x, 1), atan2(x, 2), lgamma(x));
    double complex z = csqrt(x - 100 * I);
    printf("%.12g %.12g\n", creal(z), cimag(z));
    return 0;
}
