/* Interval timers, alarm and POSIX timers have the same IDs and intervals, no more time than was left, and fire. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "check.h"

#define TIMERS 6
static sem_t threads_done;

static void fired(union sigval value) {
    if (value.sival_int == 77) sem_post(&threads_done);
}

/* By the kernel's own IDs: glibc wraps some of its timers. */
static int create(clockid_t clock, int notify, int signo, int value, int tid) {
    struct sigevent event;
    int id = -1;
    memset(&event, 0, sizeof event);
    event.sigev_notify = notify;
    event.sigev_signo = signo;
    event.sigev_value.sival_int = value;
    event._sigev_un._tid = tid;
    CHECK(syscall(SYS_timer_create, clock, &event, &id) == 0);
    return id;
}

static void arm(int id, long seconds, long interval) {
    struct itimerspec time = {{interval, 0}, {seconds, 0}};
    CHECK(syscall(SYS_timer_settime, id, 0, &time, NULL) == 0);
}

static void left(int id, long most, long interval) {
    struct itimerspec time;
    CHECK(syscall(SYS_timer_gettime, id, &time) == 0);
    EQUAL(time.it_interval.tv_sec, interval);
    CHECK(time.it_value.tv_sec <= most);
    CHECK((time.it_value.tv_sec == 0 && time.it_value.tv_nsec == 0) == (most == 0));
}

static siginfo_t wait_for(int signo) {
    siginfo_t info;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    CHECK(sigwaitinfo(&set, &info) == signo);
    return info;
}

static sem_t thread_ready;
static int thread_tid;
static void *thread(void *unused) {
    siginfo_t info;
    thread_tid = (int)syscall(SYS_gettid);
    sem_post(&thread_ready);
    info = wait_for(SIGRTMIN + 1);
    EQUAL(info.si_code, SI_TIMER);
    EQUAL(info.si_value.sival_int, 5);
    return unused;
}

int main(void) {
    int id[TIMERS], i, unused;
    pthread_t other;
    sigset_t all;
    timer_t by_thread;
    struct sigevent event;
    struct itimerspec soon = {{0, 0}, {1, 0}};
    struct itimerval virtual = {{50, 0}, {100, 0}}, prof = {{0, 0}, {200, 0}}, now;
    sem_init(&thread_ready, 0, 0);
    sem_init(&threads_done, 0, 0);
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
    CHECK(pthread_create(&other, NULL, thread, NULL) == 0);
    sem_wait(&thread_ready);

    unused = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
    id[0] = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 1, 0);
    id[1] = create(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR1, 2, 0);
    CHECK(syscall(SYS_timer_delete, unused) == 0); /* a gap in the IDs */
    id[2] = create(CLOCK_BOOTTIME, SIGEV_NONE, 0, 3, 0);
    id[3] = create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR2, 4, 0);
    id[4] = create(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGRTMIN + 1, 5, thread_tid);
    id[5] = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 2, 6, 0); /* never armed */
    arm(id[0], 1, 0);
    arm(id[1], 3000, 7);
    arm(id[2], 4000, 0);
    arm(id[3], 5000, 9);
    arm(id[4], 1, 0);
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_notify_function = fired;
    event.sigev_value.sival_int = 77;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &by_thread) == 0);
    CHECK(timer_settime(by_thread, 0, &soon, NULL) == 0);
    alarm(600);
    CHECK(setitimer(ITIMER_VIRTUAL, &virtual, NULL) == 0);
    CHECK(setitimer(ITIMER_PROF, &prof, NULL) == 0);

    snap_ready();

    left(id[1], 3000, 7);
    left(id[2], 4000, 0);
    left(id[3], 5000, 9);
    left(id[5], 0, 0);
    CHECK(getitimer(ITIMER_VIRTUAL, &now) == 0);
    CHECK(now.it_interval.tv_sec == 50 && now.it_value.tv_sec <= 100 && now.it_value.tv_sec > 0);
    CHECK(getitimer(ITIMER_PROF, &now) == 0);
    CHECK(now.it_interval.tv_sec == 0 && now.it_value.tv_sec <= 200 && now.it_value.tv_sec > 0);
    CHECK(getitimer(ITIMER_REAL, &now) == 0);
    CHECK(now.it_value.tv_sec <= 600 && now.it_value.tv_sec > 0);
    EQUAL(wait_for(SIGRTMIN).si_value.sival_int, 1);
    CHECK(pthread_join(other, NULL) == 0);
    CHECK(sem_wait(&threads_done) == 0);
    arm(id[5], 0, 0);
    for (i = 0; i < TIMERS; i++) CHECK(syscall(SYS_timer_delete, id[i]) == 0);
    CHECK(timer_delete(by_thread) == 0);
    /* Later timers get IDs of their own again. */
    id[0] = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
    id[1] = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
    CHECK(id[0] >= 0 && id[1] >= 0 && id[0] != id[1]);
    puts("ok");
    return 0;
}
