//! variants: O2
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    setlinebuf(stdout);
    snap_ready();
    printf("held ");
    write(1, "direct ", 7);
    printf("and released\n");
    write(1, "last\n", 5);
    return 0;
}
