/* A structure that is read-only, shared or gone at the point. */
#define _GNU_SOURCE
#include <snap.h>
#include <sys/mman.h>
#include <unistd.h>
static void hook(void *arg) { (void)arg; }
int main(int argc, char **argv) {
    int shared = argv[1][0] == 's', file = shared ? memfd_create("info", 0) : -1;
    if (shared && ftruncate(file, 4096)) return 1;
    struct snap_info *info =
        mmap(0, 4096, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, file, 0);
    info->size = sizeof *info;
    snap_on_restore(hook, NULL);
    prctl(SNAP_PRCTL, SNAP_OP_INFO, (unsigned long)info, 0UL, 0UL);
    if (argv[1][0] == 'u') munmap(info, 4096);
    if (argv[1][0] == 'r') mprotect(info, 4096, PROT_READ);
    int ready = prctl(SNAP_PRCTL, SNAP_OP_READY, 0UL, 0UL, 0UL) == 1;
    if (argv[1][0] == 'u') return printf("ready %d\n", ready) < 0;
    printf("ready %d, written %d\n", ready, info->first != NULL || info->hooks != 0);
    return 0;
}
