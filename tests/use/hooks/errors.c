/* The calls behind <snap.h> with arguments that cannot be a hook or a structure. */
#define _GNU_SOURCE
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>
static int call(unsigned long op, void *p) {
    errno = 0;
    return prctl(SNAP_PRCTL, op, (unsigned long)p, 0UL, 0UL) == 0 ? 0 : errno;
}
static void hook(void *info) { printf("called %d\n", ((struct snap_info *)info)->generation != 0); }
int main(void) {
    static struct snap_info info = {.size = sizeof info}, small = {.size = 55};
    static struct snap_hook bad = {.fn = hook, .info = &small};
    static struct snap_hook one = {.fn = hook, .arg = &info, .info = &info}, two = {.fn = hook, .arg = &info};
    char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    int answers[] = {
        call(SNAP_OP_INFO, NULL), call(SNAP_OP_INFO, (char *)&info + 4), call(SNAP_OP_INFO, &small),
        call(SNAP_OP_INFO, page + 4096 - 40), call(SNAP_OP_HOOK, NULL), call(SNAP_OP_HOOK, page + 4096 - 24),
        call(SNAP_OP_HOOK, &one), call(SNAP_OP_HOOK, &one), call(SNAP_OP_HOOK, (char *)&two + 4),
        call(SNAP_OP_HOOK, &two), call(SNAP_OP_HOOK, &one), call(SNAP_OP_HOOK, &bad),
    };
    int ready = snap_ready();
    for (unsigned i = 0; i < sizeof answers / sizeof *answers; i++) printf("%d ", answers[i]);
    printf("%d\n", ready);
    return 0;
}
