/* Declares memory that is not its own, which must fail and change nothing. */
#define _GNU_SOURCE
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
static char key[64] = "all of it is to stay";
static int refused(const void *p, size_t n, int error) {
    errno = 0;
    int answer = prctl(SNAP_PRCTL, SNAP_OP_SECRET, (unsigned long)p, (unsigned long)n, 0UL);
    return answer == -1 && errno == error && snap_secret(p, n) == 0;
}
int main(void) {
    char *pages = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(pages, "here");
    mprotect(pages + 4096, 4096, PROT_NONE);
    /* Several mappings make one range; its end is its own. */
    int whole = snap_secret(pages + 4096, 2 * 4096);
    munmap(pages + 2 * 4096, 4096);
    int ok = refused(key, (size_t)-1, EINVAL) && refused(key, ~0UL - 8, EINVAL) && refused(key, 1UL << 47, EFAULT)
        && refused(key, 1UL << 40, EFAULT) && refused(NULL, 0, EINVAL) && refused(NULL, 8, EFAULT)
        && refused(key, 0, EINVAL) && refused(pages + 2 * 4096 - 1, 2, EFAULT)
        && refused((void *)0xffffffffff600000UL, 4096, EFAULT) && refused((void *)0xffff800000000000UL, 8, EFAULT);
    int ready = snap_ready();
    printf("%d %d %d %s %s\n", ok, whole, ready, key, pages);
    return 0;
}
