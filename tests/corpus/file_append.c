//! input: log.txt old\n
//! files: log.txt
//! run: | | | 0
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    int fd = open("log.txt", O_WRONLY | O_APPEND);
    write(fd, "before\n", 7);
    snap_ready();
    lseek(fd, 0, SEEK_SET);
    write(fd, "after\n", 6);
    int flags = fcntl(fd, F_GETFL);
    printf("append %d, write only %d\n", !!(flags & O_APPEND), (flags & O_ACCMODE) == O_WRONLY);
    return 0;
}
