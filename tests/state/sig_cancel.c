/* A thread that is cancelled in a system call that it restarted with the rest of its timeout: its cleanup runs. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <time.h>
#include "check.h"

static volatile int inside, cleaned;

static void cleanup(void *argument) { cleaned += *(int *)argument; }

static void *sleeper(void *unused) {
    const struct timespec hour = {3600, 0};
    int one = 1;
    pthread_cleanup_push(cleanup, &one);
    __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    nanosleep(&hour, NULL);
    pthread_cleanup_pop(0);
    return unused;
}

static void *poller(void *unused) {
    int two = 2;
    pthread_cleanup_push(cleanup, &two);
    __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    poll(NULL, 0, 3600000);
    pthread_cleanup_pop(0);
    return unused;
}

int main(void) {
    pthread_t id[2];
    void *result;
    int i;
    CHECK(pthread_create(&id[0], NULL, sleeper, NULL) == 0);
    CHECK(pthread_create(&id[1], NULL, poller, NULL) == 0);
    while (__atomic_load_n(&inside, __ATOMIC_SEQ_CST) < 2) usleep(1000);
    usleep(20000); /* most likely asleep by now; it is right as well if not */

    snap_ready();

    for (i = 0; i < 2; i++) {
        CHECK(pthread_cancel(id[i]) == 0);
        CHECK(pthread_join(id[i], &result) == 0);
        CHECK(result == PTHREAD_CANCELED);
    }
    EQUAL(cleaned, 3);
    puts("ok");
    return 0;
}
