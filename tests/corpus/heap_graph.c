//! cc: gcc,clang
//! variants: O2,lto,musl-static
//! snap-args: 0
//! run: 99999 | | | 0
//! run: 100000 | | | 1
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* A hundred thousand small nodes full of pointers. */
struct node {
    long key;
    struct node *next;
};
static struct node *bucket[4096];

int main(int argc, char **argv) {
    (void)argc;
    for (long i = 0; i < 100000; i++) {
        struct node *n = malloc(sizeof *n);
        n->key = i;
        n->next = bucket[i * 2654435761UL % 4096];
        bucket[i * 2654435761UL % 4096] = n;
    }
    if (snap_ready()) argv = snap_argv();
    long key = atol(argv[1]), steps = 0;
    struct node *n = bucket[(unsigned long)key * 2654435761UL % 4096];
    while (n && n->key != key) n = n->next, steps++;
    printf("%ld %s after %ld\n", key, n ? "found" : "missing", steps);
    return n == NULL;
}
