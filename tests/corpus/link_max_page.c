//! at: main,ready
//! flags: -Wl,-z,max-page-size=2097152
//! variants: O2,static,nopie
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

static int data[2000] = {[0] = 1, [1999] = 2};
static int bss[2000];

int main(void) {
    bss[1999] = 3;
    snap_ready();
    printf("%d %d %d %d\n", data[0], data[1999], bss[0], bss[1999]);
    return 0;
}
