//! cc: gcc,clang
//! variants: O0,O2,static,musl-dynamic,musl-static
//! flags: -fstack-protector-all
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* Twenty nested protected frames return across the snapshot, with a canary that is new. */
static unsigned long canary(void) {
    unsigned long value;
    __asm__("mov %%fs:0x28, %0" : "=r"(value));
    return value;
}

static unsigned long saved;
static int restored;

__attribute__((noinline)) static int nest(int n) {
    volatile char buffer[64];
    memset((char *)buffer, n, sizeof buffer);
    if (n == 0) {
        saved = canary() ^ 0x5555555555555555;
        restored = snap_ready();
    } else {
        nest(n - 1);
    }
    return buffer[7] == n;
}

int main(void) {
    int ok = nest(20);
    printf("%d, there is one %d, new when restored %d\n", ok, canary() != 0,
           (canary() != (saved ^ 0x5555555555555555)) == (restored == 1));
    return 0;
}
