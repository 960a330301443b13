//! variants: O2,static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <xmmintrin.h>

/* Flush-to-zero and the x87 control word. */
int main(void) {
    unsigned short cw = 0x0e7f;
    __asm__ volatile("fldcw %0" : : "m"(cw));
    _mm_setcsr(_mm_getcsr() | 0x8040);
    snap_ready();
    unsigned short now;
    __asm__ volatile("fnstcw %0" : "=m"(now));
    printf("%04x %04x\n", now, _mm_getcsr() & 0xffc0);
    volatile float tiny = 1e-38f;
    printf("%d\n", tiny / 1000.0f == 0);
    return 0;
}
