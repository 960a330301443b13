//! variants: musl-static
//! run: | | | 0
#include <pthread.h>
#include <snap.h>
#include <stdio.h>

static void *end(void *unused) {
    return unused;
}

/* A stream that is locked across the snapshot: musl keeps the owner's TID in it. */
int main(void) {
    pthread_t thread;
    /* Before there is a second thread, musl locks nothing. */
    if (pthread_create(&thread, NULL, end, NULL) || pthread_join(thread, NULL)) return 1;
    FILE *file = tmpfile();
    flockfile(stdout);
    flockfile(file);
    snap_ready();
    puts("locked twice");
    fprintf(file, "x");
    printf("%d\n", ftrylockfile(file));
    funlockfile(file);
    funlockfile(file);
    funlockfile(stdout);
    puts("end");
    return 0;
}
