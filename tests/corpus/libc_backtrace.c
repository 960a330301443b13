//! flags: -D_GNU_SOURCE -rdynamic -O0 -fno-omit-frame-pointer
//! variants: O0,static
//! run: | | | 0
#include <execinfo.h>
#include <link.h>
#include <snap.h>
#include <stdio.h>

/* Unwinding and the list of loaded objects work in the instance. */
static int objects(struct dl_phdr_info *info, size_t size, void *arg) {
    (void)size;
    *(int *)arg += info->dlpi_phnum > 0;
    return 0;
}

__attribute__((noinline)) static int deep(int n) {
    void *frames[64];
    return n ? deep(n - 1) + 0 : backtrace(frames, 64);
}

int main(void) {
    int before = deep(5), a = 0, b = 0;
    dl_iterate_phdr(objects, &a);
    snap_ready();
    int after = deep(5);
    dl_iterate_phdr(objects, &b);
    printf("%d %d %d\n", after == before, after >= 7, a == b && a > 0);
    return 0;
}
