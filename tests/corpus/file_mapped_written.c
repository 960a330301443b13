//! variants: O2
//! input: map.bin {1000*0123456789}
//! files: map.bin
//! run: | | | 0
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* A writable private mapping: changes are the process's, the file stays. */
int main(void) {
    int fd = open("map.bin", O_RDWR);
    char *map = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    map[5] = 'X';
    snap_ready();
    map[8000] = 'Y';
    printf("%.10s %.10s\n", map, map + 7995);
    char c[2] = {0};
    pread(fd, c, 1, 5);
    printf("file %s\n", c);
    return 0;
}
