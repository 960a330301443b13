//! run: | | | 0
#include <errno.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A descriptor that the program closed stays closed. */
int main(void) {
    close(2);
    snap_ready();
    long n = write(2, "x", 1);
    printf("%ld %s\n", n, strerror(errno));
    return 0;
}
