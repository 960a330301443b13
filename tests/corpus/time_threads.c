//! variants: O2,static,musl-dynamic,musl-static
//! flags: -pthread -D_GNU_SOURCE
//! run: | | | 0
#include <pthread.h>
#include <sched.h>
#include <snap.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Threads are nearly always inside a clock function when the first thread marks the point. */
static volatile int stop, wrong;
static volatile long turns[4];

static void *poll_clock(void *which) {
    long id = (long)which;
    struct timespec last = {0}, now;
    struct timeval day;
    unsigned cpu;
    while (!stop) {
        if (id == 1) wrong |= gettimeofday(&day, NULL) != 0 || day.tv_sec < 1000000000;
        if (id == 2) wrong |= time(NULL) < 1000000000;
        if (id == 3) wrong |= (cpu = (unsigned)sched_getcpu()) > 100000;
        clock_gettime(CLOCK_MONOTONIC, &now);
        wrong |= now.tv_sec < last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec < last.tv_nsec);
        last = now;
        turns[id]++;
    }
    return NULL;
}

int main(void) {
    pthread_t thread[4];
    for (long i = 0; i < 4; i++) pthread_create(&thread[i], NULL, poll_clock, (void *)i);
    usleep(10000);
    snap_ready();
    long before[4];
    for (int i = 0; i < 4; i++) before[i] = turns[i];
    for (int i = 0; i < 4; i++)
        while (turns[i] == before[i] && !wrong) usleep(1000);
    stop = 1;
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    printf("all went on, wrong %d\n", wrong);
    return wrong;
}
