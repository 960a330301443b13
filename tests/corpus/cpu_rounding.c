//! variants: O0,O2,static,musl-static
//! libs: -lm
//! run: | | | 0
#include <fenv.h>
#include <math.h>
#include <snap.h>
#include <stdio.h>

/* Rounding mode and exception flags of both units. */
int main(void) {
    volatile double one = 1.0, three = 3.0;
    volatile long double l1 = 1.0L, l3 = 3.0L;
    fesetround(FE_UPWARD);
    feclearexcept(FE_ALL_EXCEPT);
    volatile double inexact = one / three;
    snap_ready();
    printf("%d %d %d\n", fegetround() == FE_UPWARD, !!fetestexcept(FE_INEXACT), !!fetestexcept(FE_DIVBYZERO));
    printf("%a %La %g\n", one / three, l1 / l3, rint(0.2));
    printf("%d\n", inexact == one / three);
    return 0;
}
