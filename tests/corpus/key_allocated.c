//! flags: -D_GNU_SOURCE
//! same-or-noted: pkey_alloc
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* V8 allocates a memory protection key at its start and, in most programs, gives it to no memory. */
int main(void) {
    int key = pkey_alloc(0, 0);
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    snap_ready();
    printf("%d\n", key >= 0 && pkey_mprotect(memory, 4096, PROT_READ, key) == 0);
    return 0;
}
