/* Snapshots of instances: the rest of a timeout, timers, pending signals and attributes go from each generation to the
 * next. The threads find their registers as they left them in the first. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include "check.h"

static const struct timespec hour = {3600, 0};
static int tid, generation;
static volatile int inside;

static void handler(int signo) { (void)signo; }

static void *sleeper(void *unused) {
    const struct timespec *rdi = &hour;
    register long rbx __asm__("rbx") = 0x5555, rdx __asm__("rdx") = 0x1111, r10 __asm__("r10") = 0x2222;
    long rax = SYS_nanosleep;
    __atomic_store_n(&inside, 1, __ATOMIC_SEQ_CST);
    __asm__ volatile("syscall" : "+a"(rax), "+D"(rdi), "+r"(rbx), "+r"(rdx), "+r"(r10) : "S"(0) : "rcx", "r11", "memory");
    CHECK(rax == -EINTR && rdi == &hour && rbx == 0x5555 && rdx == 0x1111 && r10 == 0x2222);
    return unused;
}

/* Seconds that the sleeper is still going to sleep, from the arguments of its system call. */
static long rest(pthread_t thread) {
    char path[64], text[256];
    unsigned long argument;
    int number = -1;
    clockid_t clock;
    FILE *file;
    CHECK(pthread_getcpuclockid(thread, &clock) == 0);
    tid = (int)~(clock >> 3);
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    do {
        CHECK((file = fopen(path, "r")) != NULL);
        if (fgets(text, sizeof text, file) == NULL || sscanf(text, "%d %lx", &number, &argument) != 2) number = -1;
        fclose(file);
    } while (number != SYS_nanosleep);
    return ((const struct timespec *)argument)->tv_sec;
}

int main(void) {
    struct sigaction action = {.sa_handler = handler};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    struct itimerspec time = {{5, 0}, {1000, 0}};
    struct rlimit limit = {100, 200};
    pthread_t thread;
    sigset_t set;
    int flag;
    timer_t unused, timer;
    long before;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0); /* in both threads */
    CHECK(pthread_create(&thread, NULL, sleeper, NULL) == 0);
    while (!inside) usleep(1000);
    CHECK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 42}) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &unused) == 0 && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_delete(unused) == 0 && timer_settime(timer, 0, &time, NULL) == 0);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
    CHECK(signal(SIGHUP, SIG_IGN) != SIG_ERR);
    before = rest(thread);

    do {
        long now;
        snap_ready();
        generation++;
        now = rest(thread);
        CHECK(now <= before && now > 0 && (generation == 0 || now < hour.tv_sec || !snap_argc()));
        before = now;
    } while (snap_argc() > 1 && strcmp(snap_argv()[1], "on") == 0);

    CHECK(timer_gettime(timer, &time) == 0);
    CHECK(time.it_interval.tv_sec == 5 && time.it_value.tv_sec > 0 && time.it_value.tv_sec < 1000);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == 100 && limit.rlim_max == 200);
    CHECK(prctl(PR_GET_PDEATHSIG, &flag) == 0 && flag == SIGTERM);
    CHECK(signal(SIGHUP, SIG_DFL) == SIG_IGN);
    {
        siginfo_t info;
        CHECK(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_value.sival_int == 42 && info.si_pid == getpid());
    }
    CHECK(pthread_kill(thread, SIGUSR1) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    puts("ok");
    return 0;
}
