//! variants: O2,static,musl-static
//! flags: -D_GNU_SOURCE
//! create: --memory copy
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>

/* A mapping that is stored in several runs is moved and grown as one. The kernel does that within one mapping only, so
   programs that call mremap themselves need their memory copied in rather than mapped. */
int main(void) {
    char *sparse = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 64; i += 5) sparse[(long)i << 20] = (char)i;
    snap_ready();
    char *moved = mremap(sparse, 64 << 20, 128L << 20, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) {
        perror("mremap");
        return 1;
    }
    int ok = 0;
    for (int i = 0; i < 64; i++) ok += moved[(long)i << 20] == (i % 5 ? 0 : i);
    moved[(128L << 20) - 1] = 1;
    printf("%d\n", ok);
    return 0;
}
