//! flags: -pthread -D_GNU_SOURCE
//! variants: O2,static,musl-static
//! run: | | | 0
#include <errno.h>
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static clockid_t kept;
static struct {
    int count;
    clockid_t clock;
} used;

static void *wait_for_ever(void *unused) {
    for (;;) pause();
    return unused;
}

static void show(const char *what, clockid_t clock) {
    struct timespec time;
    printf("%s: %s\n", what, clock_gettime(clock, &time) ? strerror(errno) : "read");
}

/* IDs of CPU clocks have a process's or a thread's ID in them. */
int main(void) {
    pthread_t thread;
    clockid_t local, process;
    struct timespec time;
    if (pthread_create(&thread, NULL, wait_for_ever, NULL)) return 1;
    pthread_getcpuclockid(thread, &local);
    pthread_getcpuclockid(pthread_self(), &kept);
    clock_getcpuclockid(getpid(), &process);
    used.clock = local;
    clock_gettime(used.clock, &time);
    snap_ready();
    show("a thread's", local);
    show("this thread's", kept);
    show("the process's", process);
    show("one that was used", used.clock);
    return 0;
}
