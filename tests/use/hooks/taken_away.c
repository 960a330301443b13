/* A hook in memory that is then taken away, in part, in whole or not at all. */
#define _GNU_SOURCE
#include <snap.h>
#include <sys/mman.h>
static void own(void *name) { puts((const char *)name); }
int main(int argc, char **argv) {
    char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct snap_hook *raw = (struct snap_hook *)(page + 1024);
    raw->fn = own;
    raw->arg = (void *)"raw";
    snap_on_restore(own, (void *)"first");
    prctl(SNAP_PRCTL, SNAP_OP_HOOK, (unsigned long)raw, 0UL, 0UL);
    snap_on_restore(own, (void *)"last");
    switch (argv[1][0]) {
    case 'u': munmap(page, 512); break;
    case 'm': mremap(page, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, page + (1 << 24)); break;
    case 's': mremap(page, 8192, 4096, 0); break;
    case 'f': mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
    case 'x': munmap(page + 1, 8192); break;
    case 'y': mmap(page, 8192, PROT_READ, MAP_PRIVATE | MAP_FIXED, 999, 0); break;
    }
    printf("ready %d\n", snap_ready());
    return 0;
}
