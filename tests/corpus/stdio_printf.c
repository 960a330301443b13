//! at: main,ready
//! cc: gcc,clang
//! variants: O0,O2,static,musl-dynamic,musl-static
//! libs: -lm
//! run: 3.25 | | | 0
//! run: 1e308 | | | 0
//! run: -0 | | | 0
#include <math.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    (void)argc;
    if (snap_ready()) argv = snap_argv();
    double x = strtod(argv[1], NULL);
    printf("%f %e %g %a\n", x, x, x, x);
    printf("%.3Lf %.17g %+08.2f\n", (long double)x / 3, sqrt(fabs(x)), sin(x));
    printf("%5d|%-5d|%05d|%x|%#o|%zu|%c|%10.3s|%%\n", 42, 42, 42, 255u, 8u, sizeof x, 'z', "abcdef");
    printf("%g %g %g\n", INFINITY, -INFINITY, x / INFINITY);
    return 0;
}
