//! at: ready
//! variants: O2,static,musl-dynamic
//! create: --memory copy
#define _GNU_SOURCE
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { MAPPINGS = 2, LEN = 262144 };
static char own[3 * 4096] = {1};
static char zero[64 * 4096];

/* Zeroes after MADV_DONTNEED, also where the kernel has joined the memory with a library's .bss. */
int main(void) {
    char *memory[MAPPINGS];
    for (int i = 0; i < MAPPINGS; i++) {
        memory[i] = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(memory[i], 'a' + i, LEN);
    }
    memset(zero, 'z', sizeof zero);
    memset(own, 'o', sizeof own);
    snap_ready();
    printf("%c %c %c %c\n", memory[0][5], memory[1][LEN - 1], zero[100], own[4096]);
    for (int i = 0; i < MAPPINGS; i++) {
        int wrong = madvise(memory[i], LEN, MADV_DONTNEED);
        for (int at = 0; at < LEN; at++) wrong += memory[i][at] != 0;
        printf("%d not zero\n", wrong);
    }
    return 0;
}
