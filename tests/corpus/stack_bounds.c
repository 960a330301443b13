//! flags: -D_GNU_SOURCE
//! variants: O2,static
//! run: | | | 0
#include <pthread.h>
#include <snap.h>
#include <stdio.h>

/* Runtimes ask where their stack is, before and after. */
static void show(void) {
    pthread_attr_t attr;
    void *base;
    size_t size;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &base, &size);
    char *here = __builtin_frame_address(0);
    printf("inside %d, at least a megabyte %d\n", here > (char *)base && here < (char *)base + size, size >= 1 << 20);
    pthread_attr_destroy(&attr);
}

int main(void) {
    snap_ready();
    show();
    return 0;
}
