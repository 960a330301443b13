/* Keeps memory out of core dumps, and declares none, some or all of it. */
#define _GNU_SOURCE
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
int main(int argc, char **argv) {
    char *pages = mmap(0, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(pages, 5 * 4096, MADV_NOHUGEPAGE);
    /* The last page is never written, the one before it cannot be read. */
    memset(pages, 'x', 4 * 4096);
    mprotect(pages + 3 * 4096, 4096, PROT_NONE);
    if (argv[1][0] == 'd') madvise(pages, 5 * 4096, MADV_DONTDUMP);
    if (argc > 2) snap_secret(pages, strcmp(argv[2], "all") ? 4096 : 3 * 4096);
    snap_ready();
    if (argc > 2 && !strcmp(argv[2], "stay")) {
        puts("there");
        fflush(stdout);
        getchar();
    }
    return 0;
}
