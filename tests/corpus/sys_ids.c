//! at: main,ready
//! cc: gcc,clang
//! variants: O2,static,musl-dynamic,musl-static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <pthread.h>
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Identities are those of the new process, however libc caches them. */
static volatile int hits;
static void handler(int sig) {
    (void)sig;
    hits++;
}

int main(void) {
    signal(SIGUSR1, handler);
    getpid();
    pthread_t self = pthread_self();
    snap_ready();
    printf("%d %d %d\n", getpid() == syscall(SYS_getpid), syscall(SYS_gettid) == getpid(), getppid() == syscall(SYS_getppid));
    printf("%d %d\n", pthread_equal(self, pthread_self()), gettid() == getpid());
    raise(SIGUSR1);
    pthread_kill(pthread_self(), SIGUSR1);
    kill(getpid(), SIGUSR1);
    printf("signals that reached us: %d\n", hits);
    printf("uid %d %d\n", getuid() == geteuid(), getgid() == (gid_t)syscall(SYS_getgid));
    return 0;
}
