//! at: ready
//! variants: O2,static,musl-dynamic
#define _GNU_SOURCE
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>

#define TERABYTE (1UL << 40)

/* Terabytes that are reserved and kept out of core dumps, as sanitizers do it, with few pages that are there. */
int main(void) {
    char *memory = mmap(NULL, 10 * TERABYTE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *guarded = mmap(NULL, TERABYTE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || guarded == MAP_FAILED) return 1;
    madvise(memory, 10 * TERABYTE, MADV_DONTDUMP);
    madvise(memory, 10 * TERABYTE, MADV_NOHUGEPAGE);
    mprotect(guarded + TERABYTE / 2, 1 << 20, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 10; i++) memory[i * TERABYTE + 5] = (char)(i + 1);
    guarded[TERABYTE / 2 + 7] = 9;
    snap_ready();
    int sum = 0;
    for (int i = 0; i < 10; i++) sum += memory[i * TERABYTE + 5] + memory[i * TERABYTE + 8192];
    printf("%d %d\n", sum, guarded[TERABYTE / 2 + 7]);
    memory[5 * TERABYTE + TERABYTE / 2] = 3;
    printf("%d\n", memory[5 * TERABYTE + TERABYTE / 2]);
    return 0;
}
