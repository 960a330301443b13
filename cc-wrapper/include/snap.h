/* snap.h: mark the point at which a program can be started from a snapshot.
 *
 *     #include <snap.h>
 *
 *     int main(int argc, char **argv) {
 *         load_everything();
 *         if (snap_ready()) {               // from here on every instance runs by itself
 *             argc = (int)snap_argc();
 *             argv = snap_argv();
 *         }
 *         return serve(argc, argv);
 *     }
 *
 * The header works with C99 and C++98 and later (also -ansi), with gcc and clang, on Linux. There is no library to
 * link. A program that is started in the ordinary way makes two failing system calls, and one for each function that
 * it registers. A program that only includes this header pays nothing.
 *
 * Only one thread at a time may call the functions. Shared libraries may call them, too.
 * Define SNAP_NO_STDIO for a program without <stdio.h>; snap_ready() then flushes nothing. A C++ program that has
 * called std::ios::sync_with_stdio(false) flushes its own streams first.
 */
#ifndef SNAP_H
#define SNAP_H

#if !defined(__linux__) || !defined(__ELF__)
#error "snap.h needs Linux and ELF"
#endif

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#ifndef SNAP_NO_STDIO
#include <stdio.h>
#include <stdio_ext.h>
#include <unistd.h>
#endif
#include <stdlib.h>
#include <sys/prctl.h>

/* The protocol, for other languages: prctl(SNAP_PRCTL, operation, a, b, 0). Outside of a snapshot every operation
 * fails with EINVAL. */
#define SNAP_PRCTL 0x534e4150 /* "SNAP" */
#define SNAP_OP_READY 0UL     /* take the snapshot here; 1 in a restored instance */
#define SNAP_OP_INFO 1UL      /* a: struct snap_info to fill in a restored instance */
#define SNAP_OP_SECRET 2UL    /* a, b: address and length of memory that is never stored */
#define SNAP_OP_HOOK 3UL      /* a: struct snap_hook to call in a restored instance */

/* Actions in an instance before the program goes on. Tools that warn of equal random numbers read them. */
#define SNAP_HOOKS_OWN 1U      /* the program calls functions of its choice */
#define SNAP_HOOKS_LANGUAGE 2U /* the generators of its language are seeded anew */

#ifdef __cplusplus
extern "C" {
#if __cplusplus >= 201103L
#define SNAP_NOTHROW_ noexcept(true)
#else
#define SNAP_NOTHROW_ throw()
#endif
#else
#define SNAP_NOTHROW_ __attribute__((nothrow))
#endif

struct snap_hook;

/* The loader fills it before SNAP_OP_READY returns. */
struct snap_info {
    uint32_t size;     /* in: sizeof(struct snap_info) */
    uint32_t restored; /* 1 in a restored instance */
    int64_t argc;
    char **argv;
    char **envp;
    uint64_t generation;     /* different in every instance */
    uint64_t hooks;          /* in: a sum of SNAP_HOOKS_… */
    struct snap_hook *first; /* all hooks of the program, in order of registration */
};

/* A function that the code which marks the point calls in a restored instance. */
struct snap_hook {
    struct snap_hook *next; /* set by the snapshotter */
    void (*fn)(void *);
    void *arg;
    struct snap_info *info; /* in: another structure to fill; NULL: none */
};

/* All names below that end in an underscore are private. Each executable or shared library has one object. */
extern struct snap_info snapfn_info_ __attribute__((visibility("hidden")));

/* C has no definition that is emitted at its use and merged with its copies, but the assembler has one. `.ifndef`
 * keeps one copy per assembled file (the code may be inlined often, and LTO joins files), the group one per link. */
#define SNAP_DEFINE_(section, align, label, body) \
    __asm__(".ifndef " label "\n"                 \
            ".pushsection " section "\n"          \
            ".weak " label "\n"                   \
            ".hidden " label "\n"                 \
            ".type " label ", %object\n"          \
            ".balign " align "\n" label ":\n"     \
            body "\n"                             \
            ".size " label ", .-" label "\n"      \
            ".popsection\n"                       \
            ".endif\n")

#ifndef SNAP_NO_STDIO
#ifdef __GLIBC__
/* Parts of glibc's ABI that no header declares. */
void *_IO_iter_begin(void) __attribute__((weak));
void *_IO_iter_end(void) __attribute__((weak));
void *_IO_iter_next(void *) __attribute__((weak));
FILE *_IO_iter_file(void *) __attribute__((weak));
void _IO_list_lock(void) __attribute__((weak));
void _IO_list_unlock(void) __attribute__((weak));
size_t __fpending(FILE *) SNAP_NOTHROW_;
#endif

/* Flushes every stream that has unwritten output. fflush(NULL) would also lock all other streams, and a thread that
 * waits for input has the lock of its stream until the input comes. */
static __inline__ void snap_flush_(void) {
#ifdef __GLIBC__
    void *stream;
    if (_IO_iter_begin && _IO_iter_end && _IO_iter_next && _IO_iter_file && _IO_list_lock && _IO_list_unlock) {
        _IO_list_lock();
        for (stream = _IO_iter_begin(); stream != _IO_iter_end(); stream = _IO_iter_next(stream))
            if (__fpending(_IO_iter_file(stream))) fflush(_IO_iter_file(stream));
        _IO_list_unlock();
        return;
    }
#endif
    fflush(NULL);
}

/* Whether stdio has chosen how standard output is buffered, by whether it is a terminal: lines there, else blocks. */
static __inline__ int snap_buffering_is_chosen_(int terminal) {
    return __fbufsize(stdout) > 1 && (__flbf(stdout) != 0) == terminal;
}

/* stdio chooses once. An instance may have a terminal where the program had a pipe, or the other way round. */
static __inline__ void snap_choose_buffering_(int was_terminal) {
    int terminal = isatty(1);
    if (terminal == was_terminal) return;
    setvbuf(stdout, NULL, terminal ? _IOLBF : _IOFBF, BUFSIZ);
#ifdef __GLIBC__
    /* glibc looks for the end of a line where its macros see no room. Nothing is in the buffer: it was flushed. */
    if (terminal) stdout->_IO_write_end = stdout->_IO_write_base;
#endif
}
#endif

static __inline__ struct snap_info *snap_info_(void) {
    SNAP_DEFINE_(".bss.snapfn_info_,\"awG\",%nobits,snapfn_info_,comdat", "8", "snapfn_info_", ".zero 56");
    return &snapfn_info_;
}

/* Marks the file, for tools that read it, as one that marks a snapshot point: a note (name SNAPFN, type 1) in a loaded
 * section, which `strip` keeps. The empty relocation keeps it through --gc-sections exactly as long as the code. */
#define SNAP_MARK_()                                                                       \
    do {                                                                              \
        SNAP_DEFINE_(".note.snapfn,\"aG\",%note,snapfn_note_,comdat", "4", "snapfn_note_", \
                     ".long 7\n.long 0\n.long 1\n.asciz \"SNAPFN\"\n.byte 0");        \
        __asm__ __volatile__("7741: .reloc 7741b, BFD_RELOC_NONE, snapfn_note_");     \
    } while (0)

/* Marks the snapshot point. Returns 0 in an ordinary run and while a snapshot is made, 1 in a restored instance,
 * after the functions of snap_on_restore() have run. While a snapshot is made it flushes stdio first, or every instance
 * would print the buffered text again. With musl, no other thread may wait for input in stdio then. Keeps errno. */
static __inline__ int snap_ready(void) {
    struct snap_info *info = snap_info_();
    struct snap_hook *hook;
    int saved = errno, traced;
#ifndef SNAP_NO_STDIO
    int terminal = 0, chosen = 0;
#endif
    SNAP_MARK_();
    info->size = (uint32_t)sizeof *info;
    info->hooks = 0;
    traced = prctl(SNAP_PRCTL, SNAP_OP_INFO, (unsigned long)info, 0UL, 0UL) >= 0;
#ifndef SNAP_NO_STDIO
    if (traced) {
        snap_flush_();
        terminal = isatty(1);
        chosen = snap_buffering_is_chosen_(terminal);
    }
#endif
    (void)traced;
    if (prctl(SNAP_PRCTL, SNAP_OP_READY, 0UL, 0UL, 0UL) == 1) {
#ifndef SNAP_NO_STDIO
        if (chosen) snap_choose_buffering_(terminal);
#endif
        errno = saved;
        for (hook = info->first; hook; hook = hook->next) hook->fn(hook->arg);
    }
    errno = saved;
    return info->restored != 0;
}

/* Makes every restored instance call `fn(arg)`, in the order of registration, before snap_ready() returns: to reseed,
 * reconnect, read a clock again. If `fn` is in a shared library that is unloaded, it is not called. Returns 0, or -1 if
 * there is no memory. Keeps errno otherwise. */
static __inline__ int snap_on_restore(void (*fn)(void *), void *arg) {
    int saved = errno;
    struct snap_hook *hook = (struct snap_hook *)malloc(sizeof *hook);
    if (!hook) return -1;
    hook->next = NULL;
    hook->fn = fn;
    hook->arg = arg;
    hook->info = snap_info_();
    hook->info->size = (uint32_t)sizeof *hook->info;
    /* In an ordinary run no code calls it. */
    if (prctl(SNAP_PRCTL, SNAP_OP_HOOK, (unsigned long)hook, 0UL, 0UL) < 0) free(hook);
    errno = saved;
    return 0;
}

/* The arguments and environment of this instance; 0 and NULL in an ordinary run. */
static __inline__ int64_t snap_argc(void) {
    return snap_info_()->argc;
}
static __inline__ char **snap_argv(void) {
    return snap_info_()->argv;
}
static __inline__ char **snap_envp(void) {
    return snap_info_()->envp;
}

/* A number that no other instance has; 0 in an ordinary run. Like arguments and environment, every executable and
 * shared library has it that has called snap_ready() or snap_on_restore() before the point. */
static __inline__ uint64_t snap_generation(void) {
    return snap_info_()->generation;
}

/* Keeps memory out of the snapshot; it is zero in every instance. Returns 1 if the snapshotter has recorded that; 0 in
 * an ordinary run, and if [ptr, ptr + len) is empty or not all memory of the program. Keeps errno. */
static __inline__ int snap_secret(const void *ptr, size_t len) {
    int saved = errno;
    int noted = prctl(SNAP_PRCTL, SNAP_OP_SECRET, (unsigned long)ptr, (unsigned long)len, 0UL) >= 0;
    errno = saved;
    return noted;
}

#ifdef __cplusplus
}
#endif

#endif
