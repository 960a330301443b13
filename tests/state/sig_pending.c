/* Pending signals of the process and of two threads, with their siginfo, each kind in the order it was sent. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "check.h"

static sem_t is_there, may_look;
static pid_t old_pid;

static siginfo_t next(int signo) {
    siginfo_t info;
    sigset_t set;
    struct timespec now = {0, 0};
    sigemptyset(&set);
    sigaddset(&set, signo);
    memset(&info, 0, sizeof info);
    info.si_signo = (int)syscall(SYS_rt_sigtimedwait, &set, &info, &now, 8L); /* glibc hides SI_TKILL */
    return info;
}

static void sent(int signo, int code, int value) {
    siginfo_t info = next(signo);
    EQUAL(info.si_signo, signo);
    EQUAL(info.si_code, code);
    EQUAL(info.si_pid, getpid());
    EQUAL(info.si_uid, getuid());
    if (code == SI_QUEUE) EQUAL(info.si_value.sival_int, value);
}

static void none(int signo) { EQUAL(next(signo).si_signo, -1); }

static void *thread(void *unused) {
    CHECK(pthread_kill(pthread_self(), SIGUSR2) == 0);
    sem_post(&is_there);
    while (sem_wait(&may_look)) {}
    sent(SIGUSR2, SI_TKILL, 0);
    sent(SIGRTMIN + 2, SI_QUEUE, 21);
    sent(SIGRTMIN + 2, SI_QUEUE, 22);
    none(SIGRTMIN + 2);
    return unused;
}

int main(void) {
    sigset_t all;
    pthread_t id;
    pid_t child;
    siginfo_t info;
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 5, .sigev_value.sival_int = 99};
    struct itimerspec soon = {.it_value = {0, 1}};
    old_pid = getpid();
    sem_init(&is_there, 0, 0);
    sem_init(&may_look, 0, 0);
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
    CHECK(pthread_create(&id, NULL, thread, NULL) == 0);
    sem_wait(&is_there);
    CHECK(pthread_sigqueue(id, SIGRTMIN + 2, (union sigval){.sival_int = 21}) == 0);
    CHECK(pthread_sigqueue(id, SIGRTMIN + 2, (union sigval){.sival_int = 22}) == 0);
    CHECK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 1}) == 0);
    CHECK(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 2}) == 0);
    CHECK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 3}) == 0);
    CHECK(kill(getpid(), SIGTERM) == 0);
    CHECK(kill(getpid(), SIGTERM) == 0); /* standard signals do not queue */
    CHECK(raise(SIGUSR1) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
    while (sigpending(&all), !sigismember(&all, SIGRTMIN + 5)) {}
    if ((child = fork()) == 0) _exit(3);
    CHECK(waitpid(child, NULL, 0) == child);
    while (sigpending(&all), !sigismember(&all, SIGCHLD)) {}

    snap_ready();

    sent(SIGTERM, SI_USER, 0);
    none(SIGTERM);
    sent(SIGUSR1, SI_TKILL, 0);
    sent(SIGRTMIN, SI_QUEUE, 1);
    sent(SIGRTMIN, SI_QUEUE, 3);
    none(SIGRTMIN);
    sent(SIGRTMIN + 1, SI_QUEUE, 2);
    none(SIGRTMIN + 2);
    info = next(SIGRTMIN + 5);
    EQUAL(info.si_code, SI_TIMER);
    EQUAL(info.si_value.sival_int, 99);
    none(SIGRTMIN + 5);
    info = next(SIGCHLD);
    EQUAL(info.si_code, CLD_EXITED);
    EQUAL(info.si_pid, child);
    EQUAL(info.si_status, 3);
    none(SIGUSR2); /* the other thread's */
    sem_post(&may_look);
    CHECK(pthread_join(id, NULL) == 0);
    puts("ok");
    return 0;
}
