/* Functions that the descriptor programs share: each prepares, calls snap_ready(), checks itself, and prints what is
 * wrong. */
#ifndef FD_CHECK_H
#define FD_CHECK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        errno = 0;                                                                                \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, strerror(errno));         \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* Whether two descriptors share one open file description. */
static inline int shared(int a, int b) {
    return syscall(SYS_kcmp, getpid(), getpid(), 0 /* KCMP_FILE */, a, b) == 0;
}

static inline int has_flags(int fd, int flags) {
    return (fcntl(fd, F_GETFL) & flags) == flags;
}

static inline int cloexec(int fd) {
    return fcntl(fd, F_GETFD) & FD_CLOEXEC;
}
#endif
