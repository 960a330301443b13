//! variants: O2,static,musl-static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Anonymous mappings: partly unmapped, protected, with untouched pages between. */
int main(void) {
    char *a = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(a, 'a', 1 << 20);
    munmap(a + (256 << 10), 256 << 10);
    char *sparse = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 64; i += 5) sparse[(long)i << 20] = (char)i;
    char *readonly = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(readonly, "read only");
    mprotect(readonly, 8192, PROT_READ);
    snap_ready();
    int ok = a[0] == 'a' && a[(256 << 10) - 1] == 'a' && a[512 << 10] == 'a';
    for (int i = 0; i < 64; i++) ok += sparse[(long)i << 20] == (i % 5 ? 0 : i);
    sparse[(64L << 20) - 1] = 1;
    printf("%d %s\n", ok, readonly);
    mprotect(readonly, 8192, PROT_READ | PROT_WRITE);
    strcpy(readonly, "written");
    printf("%s\n", readonly);
    printf("unmapped: %d %d\n", munmap(sparse, 64 << 20), munmap(a, 256 << 10));
    return 0;
}
