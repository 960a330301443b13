//! at: syscall:getppid
//! variants: O2,static,musl-static
//! run: | | | 0
#include <stdio.h>
#include <unistd.h>

/* Output that is buffered at a point that is a system call, not snap_ready(), is part of the state. */
int main(void) {
    printf("buffered ");
    getppid();
    printf("and continued\n");
    return 0;
}
