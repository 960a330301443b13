//! variants: O2,musl-static
//! snap-env: A=1
//! run: | | A=2 | 0
#include <snap.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

extern char **environ;

static uintptr_t canary(void) {
    uintptr_t word;
    __asm__("movq %%fs:0x28, %0" : "=r"(word));
    return word;
}

/* Words that are new in every instance are new in memory as well that its children will share: coroutine stacks, say. */
int main(void) {
    uintptr_t *words = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uintptr_t *sealed = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    words[7] = sealed[7] = (uintptr_t)environ;
    words[8] = sealed[8] = canary();
    if (mprotect(sealed, 4096, PROT_READ) != 0) return 1;
    snap_ready();
    for (char **e = (char **)words[7]; *e; e++)
        if (strncmp(*e, "A=", 2) == 0) puts(*e);
    printf("%d %d %d\n", words[8] == canary(), sealed[8] == canary(), sealed[7] == words[7]);
    return 0;
}
