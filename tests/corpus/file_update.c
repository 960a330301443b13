//! variants: O2,musl-static
//! input: data.bin {100*abcdefghij}
//! files: data.bin
//! run: | | | 0
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

int main(void) {
    int fd = open("data.bin", O_RDWR);
    pwrite(fd, "BEFORE", 6, 500);
    lseek(fd, 100, SEEK_SET);
    snap_ready();
    struct iovec parts[2] = {{"one", 3}, {"two", 3}};
    printf("%ld\n", (long)writev(fd, parts, 2));
    pwrite(fd, "AFTER", 5, 700);
    ftruncate(fd, 900);
    char buffer[8] = {0};
    pread(fd, buffer, 6, 500);
    printf("%s offset %ld end %ld\n", buffer, (long)lseek(fd, 0, SEEK_CUR), (long)lseek(fd, 0, SEEK_END));
    return 0;
}
