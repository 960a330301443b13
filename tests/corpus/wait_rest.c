//! at: ready
//! variants: O2,musl-dynamic
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { WAITS = 13, WAIT_PRIVATE = 128 /* FUTEX_WAIT_PRIVATE: musl lacks the kernel's headers */ };
static const char *const names[WAITS] = {
    "nanosleep(t, t)", "nanosleep(t, NULL)", "nanosleep(t, rest)", "sleep", "usleep", "clock_nanosleep(t, t)", "select",
    "pselect6", "ppoll", "poll", "futex", "rt_sigtimedwait", "epoll_pwait2",
};
static struct timespec start;
static double ended[WAITS];

static double since(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9;
}

/* Two seconds each. The kernel writes what is left into the memory that holds the timeout of many of these calls. */
static void *waits(void *argument) {
    long which = (long)argument;
    struct timespec time = {2, 0}, rest;
    struct timeval value = {2, 0};
    sigset_t signals;
    int word = 0, set = epoll_create1(0);
    struct epoll_event event;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    switch (which) {
    case 0: syscall(SYS_nanosleep, &time, &time); break;
    case 1: syscall(SYS_nanosleep, &time, NULL); break;
    case 2: syscall(SYS_nanosleep, &time, &rest); break;
    case 3: sleep(2); break;
    case 4: usleep(2000000); break;
    case 5: syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, &time); break;
    case 6: syscall(SYS_select, 0, NULL, NULL, NULL, &value); break;
    case 7: syscall(SYS_pselect6, 0, NULL, NULL, NULL, &time, NULL); break;
    case 8: syscall(SYS_ppoll, NULL, 0, &time, NULL, 8); break;
    case 9: poll(NULL, 0, 2000); break;
    case 10: syscall(SYS_futex, &word, WAIT_PRIVATE, 0, &time, NULL, 0); break;
    case 11: syscall(SYS_rt_sigtimedwait, &signals, NULL, &time, 8); break;
    default:
        if (syscall(441 /* epoll_pwait2 */, set, &event, 1, &time, NULL, 8) < 0 && errno == ENOSYS) sleep(2);
    }
    ended[which] = since();
    return NULL;
}

int main(void) {
    pthread_t threads[WAITS];
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    for (long i = 0; i < WAITS; i++) pthread_create(&threads[i], NULL, waits, (void *)i);
    usleep(1000000);
    snap_ready();
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < WAITS; i++) pthread_join(threads[i], NULL);
    /* About one second is left; never two, and never none. */
    for (int i = 0; i < WAITS; i++)
        printf("%s: %s\n", names[i], ended[i] > 0.4 && ended[i] < 1.9 ? "the rest" : ended[i] < 1 ? "too early" : "too late");
    return 0;
}
