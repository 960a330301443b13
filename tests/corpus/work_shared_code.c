//! at: ready
//! variants: O2,static,musl-dynamic
#define _GNU_SOURCE
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>

/* Shared anonymous memory is mapped from /dev/zero, which has no end. If it is executable, it looks like a library. */
int main(void) {
    char *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *data = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    data[5000] = 7;
    snap_ready();
    printf("%d %d %d\n", *code, data[5000], data[0]);
    return 0;
}
