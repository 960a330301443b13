/* CLOCK_MONOTONIC and CLOCK_BOOTTIME of an instance against those before the snapshot. */
#include <time.h>
#include "check.h"

static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME};

int main(void) {
    struct timespec before[2], now;
    int i;
    for (i = 0; i < 2; i++) CHECK(clock_gettime(clocks[i], &before[i]) == 0);
    snap_ready();
    for (i = 0; i < 2; i++) {
        CHECK(clock_gettime(clocks[i], &now) == 0);
        puts(now.tv_sec < before[i].tv_sec ? "backwards" : "forwards");
    }
    return 0;
}
