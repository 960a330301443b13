//! at: main,ready
//! variants: O2,static
//! snap-env: OLD=1
//! run: | piped through\n | NEW=2 | 0
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

/* An instance becomes another program, which gets its environment and descriptors. */
int main(void) {
    snap_ready();
    printf("executing\n");
    fflush(stdout);
    execlp("sh", "sh", "-c", "read line; echo \"$line $NEW ${OLD:-unset}\"; ls /proc/self/fd | wc -l", (char *)NULL);
    return 1;
}
