/* The loader repeats madvise and mlock: the flags that the kernel shows are the same. */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
#include "check.h"

static char flags[600];

/* The VmFlags line of the mapping at `address`. */
static const char *flags_of(const void *address) {
    char line[512];
    int inside = 0;
    FILE *file = fopen("/proc/self/smaps", "r");
    CHECK(file != NULL);
    flags[0] = 0;
    while (fgets(line, sizeof line, file)) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2) inside = start <= (uintptr_t)address && (uintptr_t)address < end;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0) snprintf(flags, sizeof flags, "%s ", line + 8);
    }
    fclose(file);
    for (char *c = flags; *c; c++) if (*c == '\n') *c = ' ';
    return flags;
}

static const struct { int advice; const char *flag; } kinds[] = {
    {MADV_SEQUENTIAL, " sr "}, {MADV_RANDOM, " rr "}, {MADV_DONTFORK, " dc "}, {MADV_DONTDUMP, " dd "},
    {MADV_HUGEPAGE, " hg "},   {MADV_NOHUGEPAGE, " nh "}, {MADV_WIPEONFORK, " wf "}, {MADV_MERGEABLE, " mg "},
};
enum { COUNT = sizeof kinds / sizeof *kinds, SIZE = 4 << 20 };

int main(void) {
    char *areas[COUNT], *locked, *on_fault;
    int said[COUNT], is_locked;
    for (int i = 0; i < COUNT; i++) {
        areas[i] = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(areas[i] != MAP_FAILED);
        said[i] = madvise(areas[i], SIZE, kinds[i].advice) == 0; /* a kernel may have no huge pages, no merging */
        memcpy(areas[i] + 5000, "kept", 5);
    }
    locked = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    on_fault = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(locked != MAP_FAILED && on_fault != MAP_FAILED);
    is_locked = mlock(locked, 8192) == 0 && mlock2(on_fault, 8192, 1 /* MLOCK_ONFAULT */) == 0;
    memcpy(locked + 5000, "kept", 5);

    int restored = snap_ready();

    for (int i = 0; i < COUNT; i++) {
        /* Stored pages are those of the page cache, also where the program advised huge pages. */
        int is_kept = !restored || kinds[i].advice != MADV_NOHUGEPAGE;
        if (said[i] && is_kept && strstr(flags_of(areas[i]), kinds[i].flag) == NULL) {
            printf("%s is missing in %s\n", kinds[i].flag, flags);
            return 1;
        }
        if (kinds[i].advice == MADV_WIPEONFORK && said[i] && restored) CHECK(areas[i][5000] == 0);
        else CHECK(memcmp(areas[i] + 5000, "kept", 5) == 0);
    }
    if (is_locked) CHECK(strstr(flags_of(locked), " lo ") != NULL && strstr(flags_of(on_fault), " lo ") != NULL);
    CHECK(memcmp(locked + 5000, "kept", 5) == 0 && on_fault[0] == 0);
    puts("ok");
    return 0;
}
