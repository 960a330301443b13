//! at: main,ready
//! cc: gcc,clang
//! flags: -pthread
//! variants: O2,static,musl-dynamic,musl-static
//! run: | | | 0
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* Threads that start after the snapshot, with locks and thread-local data from before it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int local = 5;
static long total;

static void *work(void *arg) {
    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&lock);
        total += local;
        pthread_mutex_unlock(&lock);
    }
    free(malloc(100000));
    return (char *)arg + 1;
}

int main(void) {
    local = 1000;
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
    snap_ready();
    pthread_t t[4];
    long sum = 0;
    for (long i = 0; i < 4; i++)
        if (pthread_create(&t[i], NULL, work, (void *)i)) return 1;
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(t[i], &result);
        sum += (long)result;
    }
    printf("%ld %ld %d\n", total, sum, local);
    return 0;
}
