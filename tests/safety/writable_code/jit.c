/* The program exits with 6, by code that it writes after the snapshot point. It also has a page that cannot be read. */
#define _GNU_SOURCE
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
int main(void) {
    unsigned char *code = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(code, "\xb8\x05\0\0\0\xc3", 6);
    mprotect(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    char *guarded = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(guarded, 'g', 8192);
    madvise(guarded, 4096, 102);
    snap_ready();
    code[1]++;
    return ((int (*)(void))code)();
}
