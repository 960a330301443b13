/* The second thread has chosen CPU 0 before the point; prints which of the first two CPUs each thread has after it. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include "check.h"

static sem_t ready, go;
static char other[3];

static void cpus(char *text) {
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
    for (int i = 0; i < 2; i++) text[i] = CPU_ISSET(i, &set) ? '1' : '0';
    text[2] = 0;
}

static void *thread(void *ignored) {
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    CHECK(sched_setaffinity(0, sizeof first, &first) == 0);
    CHECK(sem_post(&ready) == 0);
    CHECK(sem_wait(&go) == 0);
    cpus(other);
    return ignored;
}

int main(void) {
    pthread_t second;
    char own[3];
    CHECK(sem_init(&ready, 0, 0) == 0 && sem_init(&go, 0, 0) == 0);
    CHECK(pthread_create(&second, NULL, thread, NULL) == 0 && sem_wait(&ready) == 0);
    snap_ready();
    cpus(own);
    CHECK(sem_post(&go) == 0);
    CHECK(pthread_join(second, NULL) == 0);
    printf("main %s, second %s\n", own, other);
    return 0;
}
