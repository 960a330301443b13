/* A process that `check --pid` examines: threads blocked in every way, connected sockets, data in flight. It prints
 * "ready", waits for a byte on standard input, and then checks that its state is unchanged.
 *
 * With an argument a thread also makes short sleeps all the time. No calls wait then that any stop ends with EINTR. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include "check.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int done, listener, client, server, ends[2], quiet[2], set, semaphore, queue, pair[2];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* One call sleeps the whole second; no signal of the snapshotter ends it. */
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

/* The C library would make the call again after EINTR. */
static void *waits_for_a_signal(void *unused) {
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    EQUAL(syscall(SYS_rt_sigtimedwait, &usr1, NULL, NULL, 8), SIGUSR1);
    return unused;
}

static void *waits_for_a_semaphore(void *unused) {
    struct sembuf down = {0, -1, 0};
    struct timespec hour = {3600, 0};
    EQUAL(semtimedop(semaphore, &down, 1, &hour), 0);
    return unused;
}

static void *waits_for_a_message(void *unused) {
    struct { long type; char text[8]; } message;
    EQUAL(msgrcv(queue, &message, sizeof message.text, 0, 0), 3);
    return unused;
}

static void *selects(void *unused) {
    fd_set descriptors;
    struct timeval hour = {3600, 0};
    FD_ZERO(&descriptors);
    FD_SET(quiet[0], &descriptors);
    EQUAL(select(quiet[0] + 1, &descriptors, NULL, NULL, &hour), 1);
    return unused;
}

static void *receives_with_a_limit(void *unused) {
    struct timeval hour = {3600, 0};
    char byte;
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &hour, sizeof hour) == 0);
    EQUAL(recv(pair[0], &byte, 1, 0), 1);
    return unused;
}

static void *sleeps_often(void *unused) {
    while (!*(volatile int *)&done) {
        struct timespec short_time = {0, 300000};
        EQUAL(syscall(SYS_nanosleep, &short_time, NULL), 0);
    }
    return unused;
}

static volatile unsigned long spins;

/* All registers but the stack pointer, and the flags, keep their values. */
static void *computes(void *unused) {
    while (!*(volatile int *)&done) {
        unsigned long wrong = 0;
        __asm__ volatile("lea -128(%%rsp), %%rsp; push %%rbp; push %%rbx\n"
                         "mov $0x101, %%rbp; mov $0x102, %%rbx; mov $0x103, %%rcx; mov $0x104, %%rdx; mov $0x105, %%rsi\n"
                         "mov $0x106, %%rdi; mov $0x107, %%r8; mov $0x108, %%r9; mov $0x109, %%r10; mov $0x10a, %%r11\n"
                         "mov $0x10b, %%r12; mov $0x10c, %%r13; mov $0x10d, %%r14; mov $0x10e, %%r15\n"
                         "movq %%r15, %%xmm7; mov $20000, %%eax\n"
                         "1: dec %%eax; jnz 1b\n"
                         "xor $0x101, %%rbp; xor $0x102, %%rbx; xor $0x103, %%rcx; xor $0x104, %%rdx; xor $0x105, %%rsi\n"
                         "xor $0x106, %%rdi; xor $0x107, %%r8; xor $0x108, %%r9; xor $0x109, %%r10; xor $0x10a, %%r11\n"
                         "xor $0x10b, %%r12; xor $0x10c, %%r13; xor $0x10d, %%r14; movq %%xmm7, %%rax; xor %%rax, %%r15\n"
                         "mov %%rbp, %%rax; or %%rbx, %%rax; or %%rcx, %%rax; or %%rdx, %%rax; or %%rsi, %%rax\n"
                         "or %%rdi, %%rax; or %%r8, %%rax; or %%r9, %%rax; or %%r10, %%rax; or %%r11, %%rax\n"
                         "or %%r12, %%rax; or %%r13, %%rax; or %%r14, %%rax; or %%r15, %%rax\n"
                         "pop %%rbx; pop %%rbp; lea 128(%%rsp), %%rsp"
                         : "=&a"(wrong)
                         :
                         : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm7",
                           "cc", "memory");
        EQUAL(wrong, 0);
        spins++;
    }
    return unused;
}

int main(int argc, char **argv) {
    /* Behind the first nine, calls that any stop ends with EINTR. */
    void *(*const bodies[])(void *) = {argc > 1 ? sleeps_often : sleeps, waits, reads_pipe, reads_socket, accepts, polls,
                                       computes, computes, waits, waits_for_events, waits_for_a_signal,
                                       waits_for_a_semaphore, waits_for_a_message, selects, receives_with_a_limit};
    enum { ALL = sizeof bodies / sizeof *bodies };
    const int COUNT = argc > 1 ? 9 : ALL;
    struct { long type; char text[8]; } message = {1, "abc"};
    pthread_t threads[ALL];
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
    CHECK((semaphore = semget(IPC_PRIVATE, 1, 0600)) >= 0 && (queue = msgget(IPC_PRIVATE, 0600)) >= 0);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    (void)argv;
    for (int i = 0; i < COUNT; i++) CHECK(pthread_create(&threads[i], NULL, bodies[i], NULL) == 0);
    usleep(50000);
    puts("ready");
    fflush(stdout);

    EQUAL(read(0, &byte, 1), 1);

    CHECK(write(client, "hello", 5) == 5 && write(ends[1], "p", 1) == 1 && write(quiet[1], "q", 1) == 1);
    CHECK(connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&in, sizeof in) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0 && semop(semaphore, &(struct sembuf){0, 1, 0}, 1) == 0);
    CHECK(msgsnd(queue, &message, 3, 0) == 0 && send(pair[1], "d", 1, 0) == 1);
    pthread_mutex_lock(&lock);
    done = 1;
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < COUNT; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(spins > 0);
    semctl(semaphore, 0, IPC_RMID);
    msgctl(queue, IPC_RMID, NULL);
    puts("ok");
    return 0;
}
