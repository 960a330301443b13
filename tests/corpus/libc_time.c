//! variants: O2,static,musl-static
//! snap-env: TZ=Europe/Berlin
//! run: | | TZ=Europe/Berlin | 0
#include <snap.h>
#include <stdio.h>
#include <time.h>

/* Time zone rules that were read before the snapshot. */
int main(void) {
    time_t summer = 1720000000, winter = 1705000000;
    char text[64];
    struct tm tm;
    localtime_r(&summer, &tm);
    snap_ready();
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", localtime_r(&summer, &tm));
    printf("%s %d\n", text, tm.tm_isdst);
    strftime(text, sizeof text, "%A %j %H", localtime_r(&winter, &tm));
    printf("%s %d %ld\n", text, tm.tm_isdst, (long)mktime(&tm));
    return 0;
}
