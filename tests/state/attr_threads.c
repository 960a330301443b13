/* Attributes of each thread: name, nice value, policy, CPUs, timer slack, I/O priority. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "check.h"

#define THREADS 4
#define IDLE_CLASS (3 << 13)
static sem_t ready, go;
static int first_cpu, base_nice, base_cpus;
static long base_slack;

struct own { int index; const char *name; };

static void change(int index) {
    struct sched_param none = {0};
    cpu_set_t cpus;
    switch (index) {
    case 1:
        CHECK(setpriority(PRIO_PROCESS, 0, base_nice + 4) == 0);
        break;
    case 2:
        CHECK(sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none) == 0);
        CHECK(syscall(SYS_ioprio_set, 1, 0, IDLE_CLASS) == 0);
        break;
    case 3:
        CPU_ZERO(&cpus);
        CPU_SET(first_cpu, &cpus);
        CHECK(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
        CHECK(prctl(PR_SET_TIMERSLACK, 123456) == 0);
        CHECK(sched_setscheduler(0, SCHED_IDLE, &none) == 0);
        break;
    }
}

static void look(int index) {
    cpu_set_t cpus;
    EQUAL(getpriority(PRIO_PROCESS, 0), index == 1 ? base_nice + 4 : base_nice);
    EQUAL(sched_getscheduler(0), index == 2 ? SCHED_BATCH | SCHED_RESET_ON_FORK : index == 3 ? SCHED_IDLE : SCHED_OTHER);
    if (index == 2) EQUAL(syscall(SYS_ioprio_get, 1, 0), IDLE_CLASS);
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    EQUAL(CPU_COUNT(&cpus), index == 3 ? 1 : base_cpus);
    if (index == 3) CHECK(CPU_ISSET(first_cpu, &cpus));
    EQUAL(prctl(PR_GET_TIMERSLACK), index == 3 ? 123456 : base_slack);
}

static void *thread(void *argument) {
    struct own *own = argument;
    char name[16];
    CHECK(pthread_setname_np(pthread_self(), own->name) == 0);
    change(own->index);
    sem_post(&ready);
    while (sem_wait(&go)) {}
    look(own->index);
    CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, own->name) == 0);
    return NULL;
}

int main(void) {
    struct own own[THREADS] = {{0, "plain"}, {1, "nice"}, {2, "batch"}, {3, "pinned to a CPU"}};
    pthread_t id[THREADS];
    cpu_set_t cpus;
    int i;
    char name[16];
    sem_init(&ready, 0, 0);
    sem_init(&go, 0, 0);
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    base_cpus = CPU_COUNT(&cpus);
    while (!CPU_ISSET(first_cpu, &cpus)) first_cpu++;
    base_nice = getpriority(PRIO_PROCESS, 0);
    base_slack = prctl(PR_GET_TIMERSLACK);
    CHECK(prctl(PR_SET_NAME, "the first") == 0);
    for (i = 0; i < THREADS; i++) CHECK(pthread_create(&id[i], NULL, thread, &own[i]) == 0);
    for (i = 0; i < THREADS; i++) sem_wait(&ready);

    snap_ready();

    CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "the first") == 0);
    look(0);
    for (i = 0; i < THREADS; i++) sem_post(&go);
    for (i = 0; i < THREADS; i++) CHECK(pthread_join(id[i], NULL) == 0);
    puts("ok");
    return 0;
}
