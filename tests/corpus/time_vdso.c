//! variants: O2,static,musl-static
#include <errno.h>
#include <snap.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Clock calls of an instance make no system call where those of an ordinary start make none: a filter fails them. Its
 * structures are <linux/filter.h>'s, which musl's compiler does not find. */
struct rule { unsigned short code; unsigned char yes, no; unsigned k; };

static void forbid(void) {
#define FAILS(number) {0x15 /* jump if equal */, 0, 1, number}, {0x06 /* return */, 0, 0, 0x00050000 | EPERM}
    struct rule rules[] = {
        {0x20 /* load the number */, 0, 0, 0},
        FAILS(SYS_clock_gettime), FAILS(SYS_gettimeofday), FAILS(SYS_time), FAILS(SYS_clock_getres),
        {0x06, 0, 0, 0x7fff0000 /* allow */},
    };
    struct { unsigned short count; struct rule *rules; } program = {sizeof rules / sizeof *rules, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, 2 /* a filter */, &program) != 0)
        printf("no filter: %d\n", errno);
}

int main(void) {
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_COARSE};
    struct timespec now;
    struct timeval day;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snap_ready();
    forbid();
    printf("the call itself: %ld\n", syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now));
    for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++)
        printf("clock %d: %d\n", (int)clocks[i], clock_gettime(clocks[i], &now));
    printf("gettimeofday: %d\n", gettimeofday(&day, NULL));
    printf("time: %d\n", time(NULL) > 1000000000);
    return 0;
}
