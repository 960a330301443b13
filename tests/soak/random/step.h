/* Random numbers, the steps of a program, and what is printed of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT = 4096, MOST = 64 };

/* One thing that was made. Each kind uses the numbers as it likes. */
struct step {
    const struct kind *kind;
    int fd, other;
    long a, b, c;
    void *at;
    char path[32];
    char before[TEXT];
};

struct kind {
    const char *name;
    int is_once, is_refused;
    /* Makes it; returns 0 where this machine or an earlier step prevents it. */
    int (*make)(struct step *);
    /* Prints by note() what getters return; changes nothing. */
    void (*look)(struct step *);
    /* Uses it and prints what happens. */
    void (*use)(struct step *);
};

static struct step all[MOST];
static unsigned count;

static uint64_t state;

static void seed_random(uint64_t seed) {
    state = seed * 0x9e3779b97f4a7c15u | 1;
}

/* xorshift64*: the same everywhere. */
static uint64_t next(void) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du >> 16;
}

static unsigned below(unsigned limit) {
    return (unsigned)(next() % limit);
}

static int one_in(unsigned n) {
    return below(n) == 0;
}

#define PICK(list) ((list)[below(sizeof(list) / sizeof *(list))])

static void fill(void *to, size_t len, uint64_t seed) {
    unsigned char *bytes = to;
    for (size_t i = 0; i < len; i++) bytes[i] = (unsigned char)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 56);
}

static unsigned long sum(const void *from, size_t len) {
    const unsigned char *bytes = from;
    unsigned long hash = 14695981039346656037u;
    for (size_t i = 0; i < len; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

static char *text;
static size_t used;

/* One line of a getter's result. */
__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text + used, TEXT - used - 1, format, args);
    va_end(args);
    if (n > 0) used += (size_t)n < TEXT - used - 1 ? (size_t)n : TEXT - used - 2;
    text[used++] = '\n';
    text[used] = 0;
    if (used > TEXT - 200) used = TEXT - 200;
}

static void observe(struct step *step, char *into) {
    text = into;
    used = 0;
    text[0] = 0;
    if (step->kind->look) step->kind->look(step);
}

static void take(const struct kind *kind) {
    if (count == MOST) return;
    for (unsigned i = 0; kind->is_once && i < count; i++) if (all[i].kind == kind) return;
    struct step *step = &all[count];
    *step = (struct step){.kind = kind, .fd = -1, .other = -1};
    snprintf(step->path, sizeof step->path, "f%u", count);
    if (kind->make(step)) count++;
}

/* An earlier step with a descriptor, or none. */
static struct step *earlier(void) {
    unsigned start = below(count ? count : 1);
    for (unsigned i = 0; i < count; i++) {
        struct step *step = &all[(start + i) % count];
        if (step->fd >= 0) return step;
    }
    return NULL;
}

/* Flags that every descriptor has. */
static void look_fd(int fd) {
    struct stat about;
    if (fd < 0) return;
    int flags = fcntl(fd, F_GETFL), own = fcntl(fd, F_GETFD);
    if (fstat(fd, &about)) note("no descriptor");
    else note("flags %x %x mode %o size %ld links %d", flags, own, about.st_mode, S_ISREG(about.st_mode) ? (long)about.st_size : 0L,
              S_ISREG(about.st_mode) ? (int)about.st_nlink : 0);
}

static const char *name_of(int error) {
    switch (error) {
    case 0: return "0";
    case EAGAIN: return "EAGAIN";
    case EPIPE: return "EPIPE";
    case EBADF: return "EBADF";
    case EPERM: return "EPERM";
    case EBUSY: return "EBUSY";
    case EDEADLK: return "EDEADLK";
    case ENOTCONN: return "ENOTCONN";
    case ECONNREFUSED: return "ECONNREFUSED";
    case ECONNRESET: return "ECONNRESET";
    case EINVAL: return "EINVAL";
    default: return "another error";
    }
}

/* A text of all bytes that can be read. */
static void drain(int fd) {
    static unsigned char bytes[1 << 17];
    size_t all_bytes = 0;
    int old = fcntl(fd, F_GETFL), error = 0;
    fcntl(fd, F_SETFL, old | O_NONBLOCK);
    for (;;) {
        ssize_t n = read(fd, bytes + all_bytes, sizeof bytes - all_bytes);
        error = n < 0 ? errno : 0;
        if (n <= 0) break;
        all_bytes += (size_t)n;
    }
    fcntl(fd, F_SETFL, old);
    printf(" %zu bytes %lx, then %s", all_bytes, sum(bytes, all_bytes), name_of(error));
}
