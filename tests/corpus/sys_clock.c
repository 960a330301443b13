//! at: main,ready
//! cc: gcc,clang
//! variants: O2,static,static-pie,musl-dynamic,musl-static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <sched.h>
#include <snap.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Clocks run on, agree with the system calls, and never go backwards. */
static long long ns(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }

int main(void) {
    struct timespec before, a, b, res;
    struct timeval tv;
    clock_gettime(CLOCK_MONOTONIC, &before);
    snap_ready();
    int ok = 1;
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_COARSE, CLOCK_PROCESS_CPUTIME_ID};
    for (int i = 0; i < 5; i++) {
        ok = ok && clock_gettime(clocks[i], &a) == 0 && syscall(SYS_clock_gettime, clocks[i], &b) == 0;
        ok = ok && ns(b) >= ns(a) - (i == 3 ? 20000000 : 0) && ns(b) - ns(a) < 60000000000LL;
        ok = ok && clock_getres(clocks[i], &res) == 0 && ns(res) >= 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &a);
    printf("agree %d, forward %d\n", ok, ns(a) >= ns(before));
    gettimeofday(&tv, NULL);
    time_t t = time(NULL);
    /* time() reads the second of the last tick, so just after a second begins it is one behind gettimeofday(). */
    printf("%d %d\n", t >= tv.tv_sec - 1 && t - tv.tv_sec < 60, clock_gettime(9999, &a));
    unsigned cpu, node;
    printf("cpu %d %d\n", sched_getcpu() >= 0, syscall(SYS_getcpu, &cpu, &node, NULL) == 0 && cpu < 100000);
    return 0;
}
