/* Threads blocked in system calls that a stop interrupts: none of them sees it. Endless calls go on until they are
 * woken. Calls with a timeout end by it; meanwhile their timeout is the rest of it, and the program's memory and
 * registers are unchanged. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "check.h"

static const struct timespec hour = {3600, 0}, second = {1, 0};
static int futex_word, queue, semaphores;
static volatile int handled;

static void handler(int signo) { handled = signo; }

#define ABSENT 0x7fffffffL
struct call {
    const char *name;
    long expect; /* result, or -errno */
    long (*run)(void);
    pthread_t thread;
    int tid;
    int wake; /* by SIGUSR1 */
    int rest; /* argument that holds the remaining time: 'p'ointer or number, 1-based; 0: none */
    int number;
};

static long result(long value) { return value < 0 ? -errno : value; }

static long do_nanosleep(void) { return result(syscall(SYS_nanosleep, &hour, NULL)); }
static long do_clock_nanosleep(void) { return result(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &hour, NULL)); }
static long do_poll(void) { return result(syscall(SYS_poll, NULL, 0, 3600000)); }
static long do_futex(void) { return result(syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &hour, NULL, 0)); }
static long do_sigtimedwait(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return result(syscall(SYS_rt_sigtimedwait, &set, NULL, &hour, 8L));
}
static long do_semtimedop(void) {
    struct sembuf op = {0, -1, 0};
    return result(syscall(SYS_semtimedop, semaphores, &op, 1, &hour));
}
static long do_semtimedop_short(void) {
    struct sembuf op = {0, -1, 0};
    return result(syscall(SYS_semtimedop, semaphores, &op, 1, &second));
}
static long do_ppoll(void) {
    struct timespec time = second;
    return result(syscall(SYS_ppoll, NULL, 0, &time, NULL, 8L));
}
static long do_pselect(void) {
    struct timespec time = second;
    return result(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &time, NULL));
}
static long do_nanosleep_short(void) { return result(syscall(SYS_nanosleep, &second, NULL)); }
static long do_poll_short(void) { return result(syscall(SYS_poll, NULL, 0, 1000)); }
static long do_futex_short(void) {
    return result(syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &second, NULL, 0));
}
static long do_sigtimedwait_short(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return result(syscall(SYS_rt_sigtimedwait, &set, NULL, &second, 8L));
}
static long do_pause(void) { return result(syscall(SYS_pause)); }
static long do_sigsuspend(void) {
    sigset_t none;
    long value;
    sigemptyset(&none);
    value = result(syscall(SYS_rt_sigsuspend, &none, 8L));
    return value;
}
static long do_msgrcv(void) {
    struct { long type; char text[8]; } message;
    return result(msgrcv(queue, &message, sizeof message.text, 0, 0));
}
/* All argument registers and rbx survive the call. */
static long do_registers(void) {
    register long rdx __asm__("rdx") = 0x1111, r10 __asm__("r10") = 0x2222, r8 __asm__("r8") = 0x3333, r9 __asm__("r9") = 0x4444;
    register long rbx __asm__("rbx") = 0x5555, r12 __asm__("r12") = 0x6666;
    const struct timespec *rdi = &second;
    long rsi = 0, rax = SYS_nanosleep;
    __asm__ volatile("syscall"
                     : "+a"(rax), "+D"(rdi), "+S"(rsi), "+r"(rdx), "+r"(r10), "+r"(r8), "+r"(r9), "+r"(rbx), "+r"(r12)
                     :
                     : "rcx", "r11", "memory");
    CHECK(rdi == &second && rsi == 0 && rdx == 0x1111 && r10 == 0x2222 && r8 == 0x3333 && r9 == 0x4444);
    CHECK(rbx == 0x5555 && r12 == 0x6666);
    return rax;
}

static struct call calls[] = {
    {"nanosleep, woken", -EINTR, do_nanosleep, 0, 0, 1, 'a', SYS_nanosleep},
    {"clock_nanosleep, woken", -EINTR, do_clock_nanosleep, 0, 0, 1, 'c', SYS_clock_nanosleep},
    {"poll, woken", -EINTR, do_poll, 0, 0, 1, 3, SYS_poll},
    {"futex with a timeout, woken", 0, do_futex, 0, 0, 0, 'd', SYS_futex},
    {"sigtimedwait, sent", SIGUSR2, do_sigtimedwait, 0, 0, 0, 'c', SYS_rt_sigtimedwait},
    {"semtimedop, woken", -EINTR, do_semtimedop, 0, 0, 1, 'd', SYS_semtimedop},
    {"nanosleep", 0, do_nanosleep_short, 0, 0, 0, 0, SYS_nanosleep},
    {"poll", 0, do_poll_short, 0, 0, 0, 0, SYS_poll},
    {"futex", -ETIMEDOUT, do_futex_short, 0, 0, 0, 0, SYS_futex},
    {"sigtimedwait", -EAGAIN, do_sigtimedwait_short, 0, 0, 0, 0, SYS_rt_sigtimedwait},
    {"semtimedop", -EAGAIN, do_semtimedop_short, 0, 0, 0, 0, SYS_semtimedop},
    {"ppoll", 0, do_ppoll, 0, 0, 0, 0, SYS_ppoll},
    {"pselect", 0, do_pselect, 0, 0, 0, 0, SYS_pselect6},
    {"registers", 0, do_registers, 0, 0, 0, 0, SYS_nanosleep},
    {"pause", -EINTR, do_pause, 0, 0, 1, 0, SYS_pause},
    {"sigsuspend", -EINTR, do_sigsuspend, 0, 0, 1, 0, SYS_rt_sigsuspend},
    {"msgrcv", 4, do_msgrcv, 0, 0, 0, 0, SYS_msgrcv},
};
#define CALLS (sizeof calls / sizeof *calls)

static void *thread(void *argument) {
    struct call *call = argument;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    if (call->run == do_sigsuspend) sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    /* It also signals the main thread that it may look for this thread in the call. */
    __atomic_store_n(&call->tid, (int)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    return (void *)call->run();
}

/* The system call that a thread is blocked in, and its arguments. */
static int blocked_in(int tid, unsigned long args[6]) {
    char path[64], text[256];
    int number = -1;
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    if ((file = fopen(path, "r")) == NULL) return -1;
    if (fgets(text, sizeof text, file) == NULL || sscanf(text, "%d %lx %lx %lx %lx %lx %lx", &number, &args[0], &args[1],
        &args[2], &args[3], &args[4], &args[5]) != 7)
        number = -1;
    fclose(file);
    return number;
}

static int current_tid(struct call *call) {
    /* glibc keeps the TID up to date in its thread structure; ask it through pthread_getcpuclockid's encoding. */
    clockid_t clock;
    CHECK(pthread_getcpuclockid(call->thread, &clock) == 0);
    return (int)~(clock >> 3);
}

/* `remove` ends the life of the message queue and the semaphores, which all instances share. */
int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = handler};
    struct { long type; char text[8]; } message = {1, "abc"};
    unsigned long args[6];
    long value;
    size_t i;
    int restored;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    queue = msgget(IPC_PRIVATE, 0666);
    semaphores = semget(IPC_PRIVATE, 1, 0666);
    CHECK(queue >= 0 && semaphores >= 0);
    for (i = 0; i < CALLS; i++) CHECK(pthread_create(&calls[i].thread, NULL, thread, &calls[i]) == 0);
    for (i = 0; i < CALLS; i++) {
        int tid;
        while ((tid = __atomic_load_n(&calls[i].tid, __ATOMIC_SEQ_CST)) == 0) usleep(1000);
        if (strcmp(calls[i].name, "registers") == 0 || calls[i].expect == 0 || calls[i].expect == -ETIMEDOUT ||
            calls[i].expect == -EAGAIN)
            continue; /* may be over already on a slow machine: still right */
        while (blocked_in(tid, args) != calls[i].number) usleep(1000);
    }

    restored = snap_ready();

    for (i = 0; i < CALLS; i++) {
        struct call *call = &calls[i];
        int tid;
        if (call->expect == -ETIMEDOUT || call->expect == -EAGAIN || (call->expect == 0 && call->rest == 0)) continue;
        tid = current_tid(call);
        while (blocked_in(tid, args) != call->number) usleep(1000);
        if (restored && call->rest >= 'a') {
            const struct timespec *rest = (const struct timespec *)args[call->rest - 'a'];
            CHECK(rest->tv_sec < hour.tv_sec && rest->tv_sec > 0);
        } else if (restored && call->rest) {
            CHECK(args[call->rest - 1] < 3600000 && args[call->rest - 1] > 0);
        }
        if (call->wake) CHECK(pthread_kill(call->thread, SIGUSR1) == 0);
        else if (call->run == do_msgrcv) CHECK(msgsnd(queue, &message, 4, 0) == 0);
        else if (call->run == do_futex) syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1 << 30, NULL, NULL, 0);
        else if (call->run == do_sigtimedwait) CHECK(pthread_kill(call->thread, SIGUSR2) == 0);
    }
    for (i = 0; i < CALLS; i++) {
        CHECK(pthread_join(calls[i].thread, (void **)&value) == 0);
        if (calls[i].run == do_futex_short && value == 0) continue; /* woken with the other one */
        if (value != calls[i].expect) {
            printf("%s gave %ld, not %ld\n", calls[i].name, value, calls[i].expect);
            return 1;
        }
    }
    CHECK(handled == SIGUSR1);
    CHECK(hour.tv_sec == 3600 && second.tv_sec == 1);
    if (snap_argc() > 0) (void)argc, argc = (int)snap_argc(), argv = snap_argv();
    if (!restored || (argc > 1 && strcmp(argv[1], "remove") == 0)) {
        CHECK(msgctl(queue, IPC_RMID, NULL) == 0);
        CHECK(semctl(semaphores, 0, IPC_RMID) == 0);
    }
    puts("ok");
    return 0;
}
