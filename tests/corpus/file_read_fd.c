//! variants: O2,musl-static
//! input: data.bin {3000*0123456789}
//! run: | | | 0
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

/* A bare descriptor in the middle of its file. */
int main(void) {
    int fd = open("data.bin", O_RDONLY);
    char a[10], b[10], c[10];
    if (lseek(fd, 12345, SEEK_SET) != 12345 || read(fd, a, 10) != 10) return 1;
    snap_ready();
    printf("fd %d offset %ld\n", fd, (long)lseek(fd, 0, SEEK_CUR));
    if (read(fd, b, 10) != 10 || pread(fd, c, 10, 5) != 10) return 2;
    printf("%.10s %.10s %.10s\n", a, b, c);
    lseek(fd, -5, SEEK_END);
    printf("%ld %ld\n", (long)read(fd, a, 10), (long)read(fd, a, 10));
    return 0;
}
