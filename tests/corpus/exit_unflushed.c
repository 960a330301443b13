//! variants: O2,musl-static
//! run: | | | 6
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

/* _exit drops what is buffered. */
int main(void) {
    snap_ready();
    write(1, "written\n", 8);
    printf("buffered and lost\n");
    _exit(6);
}
