//! at: main,ready
//! cc: gcc,clang
//! variants: O0,O2,static,static-pie,nopie
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>

static int plain(int x) { return x + 1; }
static int other(int x) { return x + 2; }
static int (*resolve(void))(int) { return sizeof(void *) == 8 ? other : plain; }
int chosen(int) __attribute__((ifunc("resolve")));

int main(void) {
    int (*volatile pointer)(int) = chosen;
    snap_ready();
    char text[100];
    memset(text, 'x', 99);
    text[99] = 0;
    printf("%d %d %zu %d\n", chosen(1), pointer(2), strlen(text), strcmp(text, "xy") < 0);
    return 0;
}
