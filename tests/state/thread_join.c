/* The C library's records of its threads are right in an instance. The program joins a thread that runs, one that had
 * ended already, and one that it cancels; it sends signals to one thread; and gettid() equals the kernel's number. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include "check.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int go, cleaned;
static __thread volatile int signalled;
static volatile int arrived, waiting;

static void handler(int signo) { signalled = signo; }
static void cleanup(void *unused) { cleaned++; (void)unused; }

static void *ends(void *value) { return value; }

static void *runs(void *value) {
    pthread_mutex_lock(&lock);
    waiting++;
    while (!go) pthread_cond_wait(&wake, &lock);
    pthread_mutex_unlock(&lock);
    /* pthread_kill sends to the thread ID that the C library has cached. */
    CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0 && signalled == SIGUSR1);
    CHECK(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0) == 0 && syscall(SYS_gettid) != getpid());
    return value;
}

static void *takes_a_signal(void *value) {
    waiting++;
    while (!signalled) usleep(1000);
    arrived = 1;
    return value;
}

static void *is_cancelled(void *unused) {
    pthread_cleanup_push(cleanup, NULL);
    waiting++;
    for (;;) pause();
    pthread_cleanup_pop(0);
    return unused;
}

int main(void) {
    pthread_t ended, running[4], receiver, cancelled, later;
    void *value;
    CHECK(signal(SIGUSR1, handler) != SIG_ERR);
    CHECK(pthread_create(&ended, NULL, ends, (void *)7) == 0);
    for (long i = 0; i < 4; i++) CHECK(pthread_create(&running[i], NULL, runs, (void *)(10 + i)) == 0);
    CHECK(pthread_create(&receiver, NULL, takes_a_signal, NULL) == 0);
    CHECK(pthread_create(&cancelled, NULL, is_cancelled, NULL) == 0);
    while (waiting < 6) usleep(1000);
    usleep(20000);

    snap_ready();

    EQUAL(syscall(SYS_gettid), getpid());
    CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0 && signalled == SIGUSR1);
    CHECK(pthread_kill(receiver, SIGUSR1) == 0 && pthread_join(receiver, NULL) == 0 && arrived);
    CHECK(pthread_join(ended, &value) == 0);
    EQUAL((long)value, 7);
    pthread_mutex_lock(&lock);
    go = 1;
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
    for (long i = 0; i < 4; i++) {
        CHECK(pthread_join(running[i], &value) == 0);
        EQUAL((long)value, 10 + i);
    }
    CHECK(pthread_cancel(cancelled) == 0 && pthread_join(cancelled, &value) == 0);
    CHECK(value == PTHREAD_CANCELED && cleaned == 1);
    CHECK(pthread_create(&later, NULL, ends, (void *)9) == 0 && pthread_join(later, &value) == 0);
    EQUAL((long)value, 9);
    puts("ok");
    return 0;
}
