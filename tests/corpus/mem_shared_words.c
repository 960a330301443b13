//! variants: O2,musl-static
//! snap-env: A=1
//! run: | | A=2 | 0
#include <snap.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

extern char **environ;

static volatile uintptr_t kept;

static uintptr_t canary(void) {
    uintptr_t word;
    __asm__("movq %%fs:0x28, %0" : "=r"(word));
    return word;
}

/* The environment is reached through words in memory that children will share, writable or not, as well. Data that
 * equals the canary is data: it stays what it was. */
int main(void) {
    uintptr_t *words = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uintptr_t *sealed = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    words[7] = sealed[7] = (uintptr_t)environ;
    words[8] = sealed[8] = canary();
    kept = ~(uintptr_t)canary();
    if (mprotect(sealed, 4096, PROT_READ) != 0) return 1;
    snap_ready();
    for (char **e = (char **)words[7]; *e; e++)
        if (strncmp(*e, "A=", 2) == 0) puts(*e);
    printf("%d %d %d\n", words[8] == sealed[8], words[8] == ~kept, sealed[7] == words[7]);
    return 0;
}
