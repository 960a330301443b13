//! at: main,ready
//! cc: gcc,clang
//! flags: -Wl,-z,noseparate-code
//! variants: O2,static,static-pie,nopie,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

static int data[] = {4, 5, 6};
static const int table[] = {7, 8, 9};

int main(void) {
    data[1]++;
    snap_ready();
    printf("%d %d\n", data[1], table[2]);
    return 0;
}
