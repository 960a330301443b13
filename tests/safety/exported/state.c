/* Everything that an export refuses, at once. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <snap.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void *wait_for_ever(void *arg) {
    pause();
    return arg;
}

int main(void) {
    pthread_t thread;
    sigset_t set;
    timer_t timer;
    struct rlimit limit = {64, 64};
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    if (chdir("/usr") || open("/dev/null", O_RDONLY) != 3 || setrlimit(RLIMIT_NOFILE, &limit)) return 2;
    if (sigprocmask(SIG_BLOCK, &set, NULL) || kill(getpid(), SIGUSR1)) return 3;
    if (timer_create(CLOCK_MONOTONIC, &none, &timer) || prctl(PR_SET_PDEATHSIG, SIGTERM) || nice(1) == -1) return 4;
    if (pthread_create(&thread, NULL, wait_for_ever, NULL)) return 5;
    snap_ready();
    return 0;
}
