//! at: syscall:read:0,ready
//! variants: O2,static
//! run: | 1 2 3 4 5 | | 15
//! run: | 100 | | 100
//! run: | nothing | | 0
#include <snap.h>
#include <stdio.h>

int main(void) {
    int sum = 0, value;
    snap_ready();
    while (scanf("%d", &value) == 1) sum += value;
    printf("sum %d\n", sum);
    return sum;
}
