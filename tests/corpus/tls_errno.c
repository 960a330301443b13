//! variants: O2,static,musl-static
//! run: | | | 0
#include <errno.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    int *where = &errno;
    snap_ready();
    close(-1);
    printf("%d %d\n", errno == EBADF, where == &errno);
    return 0;
}
