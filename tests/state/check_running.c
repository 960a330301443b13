/* A process that somebody looks at: threads blocked in every way, connected sockets, data in flight. It says "ready",
 * waits for a byte on standard input, and then checks that nothing of it has been disturbed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include "check.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int done, listener, client, server, ends[2], quiet[2], set;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The whole second, in one call that no signal of ours ends. */
static void *sleeps(void *unused) {
    for (int turn = 0; turn < 3; turn++) {
        struct timespec second = {1, 0};
        double start = now();
        EQUAL(syscall(SYS_nanosleep, &second, NULL), 0);
        CHECK(now() - start > 0.999);
    }
    return unused;
}

static void *waits(void *unused) {
    pthread_mutex_lock(&lock);
    while (!done) pthread_cond_wait(&wake, &lock);
    pthread_mutex_unlock(&lock);
    return unused;
}

static void *reads_pipe(void *unused) {
    char byte;
    EQUAL(read(ends[0], &byte, 1), 1);
    EQUAL(byte, 'p');
    return unused;
}

static void *reads_socket(void *unused) {
    char text[8];
    EQUAL(recv(server, text, sizeof text, 0), 5);
    CHECK(memcmp(text, "hello", 5) == 0);
    return unused;
}

static void *accepts(void *unused) {
    CHECK(accept(listener, NULL, NULL) >= 0);
    return unused;
}

static void *polls(void *unused) {
    struct pollfd poll_of = {quiet[0], POLLIN, 0};
    EQUAL(poll(&poll_of, 1, -1), 1);
    return unused;
}

static void *waits_for_events(void *unused) {
    struct epoll_event event;
    EQUAL(epoll_wait(set, &event, 1, -1), 1);
    return unused;
}

static void *waits_for_a_signal(void *unused) {
    sigset_t usr1;
    int signo = 0;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    EQUAL(sigwait(&usr1, &signo), 0);
    EQUAL(signo, SIGUSR1);
    return unused;
}

static volatile unsigned long spins;

static void *computes(void *unused) {
    while (!*(volatile int *)&done) spins++;
    return unused;
}

int main(void) {
    void *(*const bodies[])(void *) = {sleeps, waits, reads_pipe, reads_socket, accepts, polls, waits_for_events,
                                       waits_for_a_signal, computes};
    enum { COUNT = sizeof bodies / sizeof *bodies };
    pthread_t threads[COUNT];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    struct epoll_event event = {.events = EPOLLIN};
    sigset_t usr1;
    char byte;
#ifdef PR_SET_PTRACER
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
#endif
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&in, sizeof in) == 0 && listen(listener, 5) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&in, &len) == 0);
    CHECK(connect(client, (struct sockaddr *)&in, sizeof in) == 0 && (server = accept(listener, NULL, NULL)) >= 0);
    CHECK(pipe(ends) == 0 && pipe(quiet) == 0 && (set = epoll_create1(0)) >= 0);
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, quiet[0], &event) == 0);
    for (int i = 0; i < COUNT; i++) CHECK(pthread_create(&threads[i], NULL, bodies[i], NULL) == 0);
    usleep(50000);
    puts("ready");
    fflush(stdout);

    EQUAL(read(0, &byte, 1), 1);

    CHECK(write(client, "hello", 5) == 5 && write(ends[1], "p", 1) == 1 && write(quiet[1], "q", 1) == 1);
    CHECK(connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&in, sizeof in) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    pthread_mutex_lock(&lock);
    done = 1;
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < COUNT; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(spins > 0);
    puts("ok");
    return 0;
}
