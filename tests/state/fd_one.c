/* Opens one file for reading, or locks it, as its argument says: for failures at restore. */
#include "fd_check.h"
#include <sys/file.h>

int main(int argc, char **argv) {
    int lock = argc > 1 && !strcmp(argv[1], "lock");
    int fd = open("subject", lock ? O_RDWR : O_RDONLY);
    CHECK(fd >= 0);
    if (lock) CHECK(flock(fd, LOCK_EX) == 0);
    snap_ready();
    puts("ok");
    return 0;
}
