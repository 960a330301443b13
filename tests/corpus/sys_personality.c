//! at: main,ready
//! variants: O2,static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* The snapshotter leaves no trace in personality, limits, dumpability and no-new-privileges. */
int main(void) {
    snap_ready();
    struct rlimit r;
    getrlimit(RLIMIT_STACK, &r);
    printf("%x %lu %d %d %d\n", personality(0xffffffff), (unsigned long)r.rlim_cur >> 20, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0),
           prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
    return 0;
}
