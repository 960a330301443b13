/* Does as its argument says, which not every instance can, and goes on to its end if there is no snapshot. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "check.h"

static sem_t ready, go;
static const char *what;

static void *thread(void *unused) {
    if (strcmp(what, "thread-privileges") == 0) CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (strcmp(what, "thread-death-signal") == 0) CHECK(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
    sem_post(&ready);
    while (sem_wait(&go)) {}
    return unused;
}

int main(int argc, char **argv) {
    pthread_t id;
    struct timespec second = {1, 0};
    sem_init(&ready, 0, 0);
    sem_init(&go, 0, 0);
    what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "securebits") == 0) CHECK(prctl(PR_SET_SECUREBITS, 1) == 0);
    CHECK(pthread_create(&id, NULL, thread, NULL) == 0);
    sem_wait(&ready);
    if (strcmp(what, "user") == 0) CHECK(syscall(SYS_setresuid, 65534, 65534, 65534) == 0);
    if (strcmp(what, "namespace") == 0) CHECK(syscall(SYS_unshare, CLONE_NEWUTS) == 0);
    if (strcmp(what, "real-time") == 0) CHECK(sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}) == 0);
    if (strcmp(what, "clock") == 0) {
        int timer;
        CHECK(syscall(SYS_timer_create, CLOCK_THREAD_CPUTIME_ID, NULL, &timer) == 0);
    }
    if (strcmp(what, "deadline") == 0) {
        struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; }
            attr = {48, 6, 0, 0, 0, 1000000, 10000000, 10000000};
        CHECK(syscall(SYS_sched_setattr, 0, &attr, 0) == 0);
    }
    snap_ready();
    sem_post(&go);
    CHECK(pthread_join(id, NULL) == 0);
    nanosleep(&second, NULL);
    {
        FILE *file = fopen("went-on", "w");
        CHECK(file != NULL && fputs(what, file) >= 0 && fclose(file) == 0);
    }
    return 0;
}
