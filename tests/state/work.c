/* work KIND COUNT: holds much that costs nothing as long as no program reads all of it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include "check.h"

int main(int argc, char **argv) {
    long count = argc > 2 ? atol(argv[2]) : 0;
    char *memory;
    CHECK(argc > 2);
    if (!strcmp(argv[1], "reserved")) {
        /* Tebibytes, 16 pages of which are there. */
        size_t len = (size_t)count << 40;
        memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(memory != MAP_FAILED && madvise(memory, len, MADV_NOHUGEPAGE) == 0);
        CHECK(madvise(memory, len, MADV_DONTDUMP) == 0);
        for (int i = 0; i < 16; i++) memory[len / 16 * (size_t)i] = 1;
    } else if (!strcmp(argv[1], "secrets")) {
        /* Declared again and again. */
        memory = malloc(1 << 20);
        memset(memory, 's', 1 << 20);
        for (long i = 0; i < count; i++) snap_secret(memory, 1 << 20);
    } else {
        CHECK(!strcmp(argv[1], "descriptors"));
        for (long i = 0; i < count; i++) CHECK(open("/dev/zero", O_RDONLY) >= 0);
    }
    snap_ready();
    return 0;
}
