//! flags: -pthread
//! variants: O2,static,musl-static
//! run: | | | 0
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Threads that ended before the snapshot have left arenas and cached stacks behind. */
static char *made;
static void *work(void *arg) {
    made = malloc(5000);
    memset(made, 'm', 5000);
    return arg;
}

int main(void) {
    pthread_t t;
    pthread_create(&t, NULL, work, NULL);
    pthread_join(t, NULL);
    char *first = made;
    snap_ready();
    pthread_create(&t, NULL, work, NULL);
    pthread_join(t, NULL);
    printf("%c %c %d\n", first[4999], made[0], first != made);
    free(first);
    free(made);
    return 0;
}
