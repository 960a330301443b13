/* A state program prepares something, calls snap_ready(), and checks itself: in an ordinary run and in an instance. */
#ifndef CHECK_H
#define CHECK_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>
#include <snap.h>

#define CHECK(condition)                                                                               \
    do {                                                                                               \
        if (!(condition)) {                                                                            \
            printf("%s:%d: not so: %s (errno %d: %s)\n", __FILE__, __LINE__, #condition, errno, strerror(errno)); \
            fflush(stdout);                                                                            \
            _exit(1);                                                                                  \
        }                                                                                              \
    } while (0)

#define EQUAL(have, want)                                                                              \
    do {                                                                                               \
        long long have_ = (long long)(have), want_ = (long long)(want);                                \
        if (have_ != want_) {                                                                          \
            printf("%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #have, have_, want_);          \
            fflush(stdout);                                                                            \
            _exit(1);                                                                                  \
        }                                                                                              \
    } while (0)

#endif
