//! variants: O2,static
//! run: | | | 0
#include <errno.h>
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    snap_ready();
    int fds[2];
    if (pipe(fds)) return 1;
    close(fds[0]);
    long n = write(fds[1], "x", 1);
    printf("%ld %s\n", n, strerror(errno));
    return 0;
}
