/* Guard pages of every kind of memory, alone and with every other advice: an access is SIGSEGV. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include "check.h"

enum { PAGE = 4096, PAGES = 8, GUARD_INSTALL = 102, GUARD_REMOVE = 103, RW = PROT_READ | PROT_WRITE };

static sigjmp_buf back;

static void caught(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

static int guarded(volatile char *address) {
    if (sigsetjmp(back, 1)) return 1;
    char c = *address;
    (void)c;
    return 0;
}

static const int advice[] = {
    -1, MADV_SEQUENTIAL, MADV_RANDOM, MADV_DONTFORK, MADV_DONTDUMP, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_WIPEONFORK,
    MADV_MERGEABLE,
};
enum { ADVICE = sizeof advice / sizeof *advice };

static struct area {
    const char *name;
    char *memory;
    int has;
} areas[ADVICE * 2 + 8];
static int count;

/* Memory with data in its first page and guards in the second and from the fifth to the sixth. */
static struct area *add(const char *name, int prot, int flags, int fd, int is_written) {
    struct area *area = &areas[count++];
    area->name = name;
    area->memory = mmap(NULL, PAGES * PAGE, prot, flags, fd, 0);
    CHECK(area->memory != MAP_FAILED);
    if (is_written) memset(area->memory, 'd', PAGE);
    area->has = madvise(area->memory + PAGE, PAGE, GUARD_INSTALL) == 0 && madvise(area->memory + 4 * PAGE, 2 * PAGE, GUARD_INSTALL) == 0;
    return area;
}

int main(void) {
    int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    signal(SIGSEGV, caught);
    int fd = open("guarded", O_RDWR | O_CREAT | O_TRUNC, 0600), memory = memfd_create("guarded", 0);
    /* Instances are another user's. */
    CHECK(fd >= 0 && fchmod(fd, 0666) == 0 && memory >= 0 && ftruncate(fd, PAGES * PAGE) == 0 && ftruncate(memory, PAGES * PAGE) == 0);
    for (int i = 0; i < ADVICE; i++) {
        struct area *one = add("one page's advice", RW, anonymous, -1, 1), *all = add("advice", RW, anonymous, -1, 1);
        if (i > 0) madvise(one->memory + PAGE, PAGE, advice[i]), madvise(all->memory, PAGES * PAGE, advice[i]);
    }
    add("untouched", RW, anonymous, -1, 0);
    add("read only", PROT_READ, anonymous, -1, 0);
    add("shared", RW, MAP_SHARED | MAP_ANONYMOUS, -1, 1);
    add("file", RW, MAP_PRIVATE, fd, 1);
    add("read-only file", PROT_READ, MAP_PRIVATE, fd, 0);
    add("shared file", RW, MAP_SHARED, fd, 1);
    add("memory file", RW, MAP_SHARED, memory, 1);
    add("removed again", RW, anonymous, -1, 1);
    CHECK(!areas[count - 1].has || madvise(areas[count - 1].memory, PAGES * PAGE, GUARD_REMOVE) == 0);

    snap_ready();

    int wrong = 0;
    for (int i = 0; i < count; i++) {
        for (int page = 0; page < PAGES; page++) {
            int want = areas[i].has && (page == 1 || page == 4 || page == 5) && i != count - 1;
            if (guarded(areas[i].memory + page * PAGE) == want) continue;
            printf("%d, %s: page %d is %s\n", i, areas[i].name, page, want ? "no guard" : "a guard");
            wrong = 1;
        }
    }
    CHECK(!wrong);
    puts("ok");
    return 0;
}
