//! variants: O2,static,musl-static
//! input: map.bin {1000*0123456789}
//! run: | | | 0
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* A read-only private mapping, its descriptor closed. */
int main(void) {
    int fd = open("map.bin", O_RDONLY);
    const char *all = mmap(NULL, 10000, PROT_READ, MAP_PRIVATE, fd, 0);
    const char *tail = mmap(NULL, 10000 - 8192, PROT_READ, MAP_PRIVATE, fd, 8192);
    close(fd);
    if (all == MAP_FAILED || tail == MAP_FAILED) return 1;
    long sum = all[0];
    snap_ready();
    for (int i = 0; i < 10000; i++) sum += all[i];
    printf("%ld %.6s zero tail %d\n", sum, tail, all[10001]);
    munmap((void *)tail, 10000 - 8192);
    return 0;
}
