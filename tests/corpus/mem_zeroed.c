//! variants: O2,static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* Initialised data that the program cleared must not come back. */
static char data[65536] = {1, 2, 3, [40000] = 4, [65535] = 5};
static char bss[65536];

int main(void) {
    memset(bss, 1, sizeof bss);
    memset(bss, 0, sizeof bss);
    memset(data, 0, sizeof data);
    data[100] = 7;
    snap_ready();
    int sum = 0;
    for (unsigned i = 0; i < sizeof data; i++) sum += data[i] + bss[i];
    printf("%d\n", sum);
    return 0;
}
