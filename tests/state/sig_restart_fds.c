/* Threads blocked on descriptors: a stop makes some of these calls return EINTR, which no thread sees. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include "check.h"

static int pipe_a[2], pipe_b[2], pair[2], listening;
static volatile int started;

static void *go(void *(*run)(void), long *result) {
    __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST);
    *result = (long)run();
    if (*result < 0) *result = -errno;
    return result;
}

static void *do_read(void) { char byte; return (void *)(long)read(pipe_a[0], &byte, 1); }
static void *do_poll(void) {
    struct pollfd fd = {pipe_b[0], POLLIN, 0};
    return (void *)(long)poll(&fd, 1, -1);
}
static void *do_accept(void) {
    int fd = accept(listening, NULL, NULL);
    return (void *)(long)(fd < 0 ? -1 : close(fd) + 7);
}
static void *do_recv(void) { char byte; return (void *)(long)recv(pair[0], &byte, 1, 0); }
static int watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(0);
    CHECK(set >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    return set;
}
static void *do_epoll(void) {
    struct epoll_event event;
    return (void *)(long)epoll_wait(watch(pipe_b[0]), &event, 1, -1);
}
static void *do_epoll_timeout(void) {
    struct epoll_event event;
    return (void *)(long)epoll_wait(watch(pair[1]), &event, 1, 1000);
}

static struct { const char *name; void *(*run)(void); long expect, result; pthread_t thread; } calls[] = {
    {"read", do_read, 1, 0, 0},
    {"poll", do_poll, 1, 0, 0},
    {"accept", do_accept, 7, 0, 0},
    {"recv with SO_RCVTIMEO", do_recv, -EAGAIN, 0, 0},
    {"epoll_wait", do_epoll, 1, 0, 0},
    {"epoll_wait with a timeout", do_epoll_timeout, 0, 0, 0},
};
#define CALLS (sizeof calls / sizeof *calls)

static void *thread(void *index) { return go(calls[(long)index].run, &calls[(long)index].result); }

int main(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval second = {1, 0};
    socklen_t length = sizeof(sa_family_t);
    size_t i;
    int client;
    CHECK(pipe(pipe_a) == 0 && pipe(pipe_b) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second) == 0);
    listening = socket(AF_UNIX, SOCK_STREAM, 0);
    /* An abstract name of its own, which the instance needs again: unique by the address of a variable. */
    length += 1 + (socklen_t)snprintf(address.sun_path + 1, 64, "snapfn-%p-%d", (void *)&client, getpid());
    CHECK(bind(listening, (struct sockaddr *)&address, length) == 0 && listen(listening, 5) == 0);
    for (i = 0; i < CALLS; i++) CHECK(pthread_create(&calls[i].thread, NULL, thread, (void *)i) == 0);
    while (__atomic_load_n(&started, __ATOMIC_SEQ_CST) < (int)CALLS) usleep(1000);
    usleep(50000); /* most likely blocked by now; it is right as well if not */

    snap_ready();

    CHECK(write(pipe_a[1], "x", 1) == 1 && write(pipe_b[1], "x", 1) == 1);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(client, (struct sockaddr *)&address, length) == 0);
    for (i = 0; i < CALLS; i++) {
        CHECK(pthread_join(calls[i].thread, NULL) == 0);
        if (calls[i].result != calls[i].expect) {
            printf("%s gave %ld, not %ld\n", calls[i].name, calls[i].result, calls[i].expect);
            return 1;
        }
    }
    puts("ok");
    return 0;
}
