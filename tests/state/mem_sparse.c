/* Ten GiB reserved, a page written in the middle: everything else stays a hole. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <snap.h>

int main(void) {
    const unsigned long size = 10UL << 30;
    struct rusage usage;
    char *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) return 1;
    strcpy(area + size / 2, "sparse");
    snap_ready();
    if (strcmp(area + size / 2, "sparse") != 0 || area[0] != 0 || area[size - 1] != 0) return 2;
    /* Kilobytes that were ever resident. */
    if (getrusage(RUSAGE_SELF, &usage) != 0 || usage.ru_maxrss > 64 << 10) return 3;
    puts("ok");
    return 0;
}
