//! flags: -D_GNU_SOURCE
//! variants: O2,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096
#define LEN (256 * PAGE)

static char *map(size_t len) {
    return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* As jemalloc 5.3 asks at its start. */
static int gives_zeros(void) {
    char *page = map(PAGE);
    memset(page, 'A', PAGE);
    int zeros = madvise(page, PAGE, MADV_DONTNEED) == 0 && memchr(page, 'A', PAGE) == NULL;
    munmap(page, PAGE);
    return zeros;
}

/* An allocator that asks whether MADV_DONTNEED gives zeros, and clears memory itself where it does not. */
int main(void) {
    int zeros = gives_zeros(), bytes = 0;
    char *area = map(LEN);
    memset(area, 'x', LEN);
    snap_ready();
    madvise(area, LEN, MADV_DONTNEED);
    if (!zeros) memset(area, 0, LEN);
    for (int at = 0; at < LEN; at++) bytes += area[at] != 0;
    printf("%d bytes are left\n", bytes);
    return 0;
}
