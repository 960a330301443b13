//! at: ready
//! variants: O2,musl-dynamic
//! input: many abcdefghij
#define _GNU_SOURCE
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { OPEN = 600 };

/* Many descriptors of one file: each with an offset of its own, or a duplicate of another one; and eventfds. */
int main(void) {
    int own[OPEN / 3], same[OPEN / 3], event[OPEN / 3];
    for (int i = 0; i < OPEN / 3; i++) {
        own[i] = open("many", O_RDONLY);
        lseek(own[i], i % 10, SEEK_SET);
        same[i] = dup(own[i * 7 % (i + 1)]);
        event[i] = eventfd((unsigned)i, EFD_NONBLOCK);
    }
    snap_ready();
    long good = 0;
    for (int i = 0; i < OPEN / 3; i++) {
        unsigned long long count = 0;
        good += lseek(own[i], 0, SEEK_CUR) == i % 10;
        /* A duplicate moves with its original. */
        off_t before = lseek(own[i * 7 % (i + 1)], 0, SEEK_CUR);
        lseek(same[i], 11, SEEK_SET);
        good += lseek(own[i * 7 % (i + 1)], 0, SEEK_CUR) == 11;
        lseek(same[i], before, SEEK_SET);
        good += i == 0 || (read(event[i], &count, sizeof count) == sizeof count && count == (unsigned long long)i);
    }
    printf("%ld of %d\n", good, OPEN);
    return 0;
}
