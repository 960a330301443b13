/* Memory: content, protection, and advice to the kernel. */
#include <malloc.h>

enum { PAGE = 4096 };

/* Writes some pages of `pages`, so that the others stay as they came. */
static void write_some(unsigned char *at, unsigned pages) {
    for (unsigned i = 0; i < pages; i++) if (one_in(2)) fill(at + i * PAGE, 1 + below(PAGE), next());
}

/* Protections, sharing and advice of each page of a range, by smaps. */
static void look_range(const unsigned char *at, size_t len) {
    char line[512];
    unsigned long start = 0, end = 0, low = (unsigned long)at, high = low + len;
    char prot[8] = "";
    FILE *maps = fopen("/proc/self/smaps", "re");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx %7s", &from, &to, prot) == 3) start = from < low ? low : from, end = to > high ? high : to;
        else if (!strncmp(line, "VmFlags:", 8) && start < end) {
            static const char *const told[] = {"sr", "rr", "dc", "dd", "hg", "mg", "lo"};
            char flags[64] = "";
            for (unsigned i = 0; i < sizeof told / sizeof *told; i++) if (strstr(line + 8, told[i])) strcat(strcat(flags, " "), told[i]);
            /* Neighbours may be one mapping or two: only the attributes of a page count. */
            static char last[96];
            static unsigned long until;
            char now[96];
            snprintf(now, sizeof now, "%s%s", prot, flags);
            if (start == low || strcmp(now, last) || until != start) note("%s from page %lu", now, (start - low) / PAGE);
            strcpy(last, now);
            until = end;
        }
    }
    if (maps) fclose(maps);
    for (size_t i = 0; i < len; i += PAGE) {
        unsigned char seen[PAGE];
        /* A write(2) from a page that cannot be read fails. */
        int ends[2];
        if (pipe2(ends, O_CLOEXEC)) return;
        ssize_t n = write(ends[1], at + i, PAGE);
        if (n == PAGE && read(ends[0], seen, PAGE) == PAGE) note("%zu: %lx", i / PAGE, sum(seen, PAGE));
        close(ends[0]), close(ends[1]);
    }
}

static void look_mapping(struct step *step) {
    look_range(step->at, (size_t)step->a * PAGE);
}

static const struct kind shared;

/* Protects some pages, and unmaps the last one. */
static void carve(struct step *step) {
    static const int protections[] = {PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC};
    unsigned char *at = step->at;
    unsigned pages = (unsigned)step->a;
    int protection = PICK(protections);
    /* Executable shared memory is left out: create reads its source, which is /dev/zero, without end. */
    if (step->kind == &shared && protection & PROT_EXEC) protection = PROT_READ;
    if (one_in(2)) mprotect(at + below(pages) * PAGE, PAGE, protection);
    if (pages > 2 && one_in(3)) munmap(at + (pages - 1) * PAGE, PAGE), step->a--;
}

static int map(struct step *step, int flags, int fd) {
    step->a = 1 + below(12);
    step->at = mmap(NULL, (size_t)step->a * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (step->at == MAP_FAILED) return 0;
    write_some(step->at, (unsigned)step->a);
    carve(step);
    return 1;
}

static void use_mapping(struct step *step) {
    size_t len = (size_t)step->a * PAGE;
    unsigned char *at = step->at;
    int opened = mprotect(at, len, PROT_READ | PROT_WRITE);
    printf(" opened %d %lx", opened, sum(at, len));
    memset(at, 'w', len);
    printf(" written %lx", sum(at, len));
}

static int make_anonymous(struct step *step) {
    return map(step, MAP_PRIVATE | MAP_ANONYMOUS | (one_in(3) ? MAP_NORESERVE : 0), -1);
}

/* Not tried, since docs/reference/limits.md has it: mremap of memory that is several mappings in an instance, and what
 * MADV_DONTNEED leaves in memory that is mapped from the snapshot. */
static const struct kind anonymous = {"anonymous memory", 0, 0, make_anonymous, look_mapping, use_mapping};

static int make_shared(struct step *step) {
    return map(step, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static const struct kind shared = {"shared memory", 0, 0, make_shared, look_mapping, use_mapping};

static int make_mapped_file(struct step *step) {
    int is_shared = one_in(2), fd = content(step->path, 12 * PAGE, O_RDWR);
    int made = fd >= 0 && map(step, is_shared ? MAP_SHARED : MAP_PRIVATE, fd);
    if (fd >= 0) close(fd);
    step->b = is_shared;
    return made;
}

static void use_mapped_file(struct step *step) {
    unsigned char bytes[PAGE];
    use_mapping(step);
    msync(step->at, (size_t)step->a * PAGE, MS_SYNC);
    int fd = open(step->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = read(fd, bytes, sizeof bytes);
    printf(" in the file %ld %lx", (long)n, sum(bytes, sizeof bytes));
    close(fd);
}

static const struct kind mapped_file = {"mapped file", 0, 0, make_mapped_file, look_mapping, use_mapped_file};

/* Not among them is MADV_NOHUGEPAGE, which docs/reference/support.md promises for zero pages only. */
static int make_advised(struct step *step) {
    static const int advice[] = {MADV_SEQUENTIAL, MADV_RANDOM, MADV_DONTFORK, MADV_DONTDUMP, MADV_HUGEPAGE};
    if (!make_anonymous(step)) return 0;
    unsigned pages = (unsigned)step->a, first = below(pages);
    return madvise((char *)step->at + first * PAGE, (1 + below(pages - first)) * PAGE, PICK(advice)) == 0;
}

static const struct kind advised = {"advised memory", 0, 0, make_advised, look_mapping, use_mapping};

/* Blocks of the C library's heap, some of them freed again. */
static int make_heap(struct step *step) {
    void **blocks = calloc(40, sizeof *blocks);
    for (int i = 0; i < 40; i++) {
        size_t len = 1 + below(one_in(10) ? 300000 : 2000);
        blocks[i] = malloc(len);
        fill(blocks[i], len, next());
    }
    for (int i = 0; i < 40; i++) if (one_in(3)) free(blocks[i]), blocks[i] = NULL;
    step->at = blocks;
    return 1;
}

static void look_heap(struct step *step) {
    void **blocks = step->at;
    unsigned long mixed = 0;
    for (int i = 0; i < 40; i++) if (blocks[i]) mixed = mixed * 31 + sum(blocks[i], malloc_usable_size(blocks[i]));
    note("blocks %lx", mixed);
}

static void use_heap(struct step *step) {
    void **blocks = step->at;
    unsigned long mixed = 0;
    for (int i = 0; i < 40; i++) {
        size_t had = blocks[i] ? malloc_usable_size(blocks[i]) : 0;
        blocks[i] = realloc(blocks[i], had + 1000);
        mixed = mixed * 31 + sum(blocks[i], had);
    }
    printf(" %lx", mixed);
    for (int i = 0; i < 40; i++) free(blocks[i]);
}

static const struct kind heap = {"heap", 0, 0, make_heap, look_heap, use_heap};

static int make_program_break(struct step *step) {
    step->a = 1 + below(20);
    step->at = sbrk(step->a * PAGE);
    if (step->at == (void *)-1) return 0;
    fill(step->at, (size_t)step->a * PAGE, next());
    return 1;
}

static void look_program_break(struct step *step) {
    note("%lx", sum(step->at, (size_t)step->a * PAGE));
}

static void use_program_break(struct step *step) {
    (void)step;
    unsigned char *more = sbrk(PAGE);
    printf(" grown %d", more != (void *)-1);
    if (more != (void *)-1) printf(" %d", (memset(more, 1, PAGE), more[PAGE - 1]));
}

static const struct kind program_break = {"program break", 0, 0, make_program_break, look_program_break, use_program_break};
