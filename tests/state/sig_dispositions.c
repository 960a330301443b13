/* Handlers with all their flags, ignored signals, a default with flags, masks, and the alternate stack. */
#define _GNU_SOURCE
#include <signal.h>
#include <unistd.h>
#include "check.h"

static char stack[65536] __attribute__((aligned(4096)));
static volatile sig_atomic_t seen, on_stack;

static void handler(int signo, siginfo_t *info, void *context) {
    char here;
    (void)context;
    seen = signo * 1000 + info->si_value.sival_int;
    on_stack = &here >= stack && &here < stack + sizeof stack;
}

/* The kernel's view: glibc hides SA_RESTORER. */
struct kernel_sigaction {
    void *handler;
    unsigned long flags;
    void *restorer;
    unsigned long mask;
};
static struct kernel_sigaction look(int signo) {
    struct kernel_sigaction action;
    CHECK(syscall(13, signo, NULL, &action, 8L) == 0);
    return action;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART};
    struct kernel_sigaction before[65], after;
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack}, old;
    sigset_t set;
    int signo;
    CHECK(sigaltstack(&alt, NULL) == 0);
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaddset(&action.sa_mask, SIGRTMAX);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(sigaction(SIGRTMIN + 3, &action, NULL) == 0);
    CHECK(signal(SIGHUP, SIG_IGN) != SIG_ERR);
    /* A default that is not the default: children are not waited for. */
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    action.sa_flags = SA_NOCLDWAIT;
    CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGRTMIN);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    for (signo = 1; signo <= 64; signo++)
        if (signo != SIGKILL && signo != SIGSTOP) before[signo] = look(signo);

    snap_ready();

    for (signo = 1; signo <= 64; signo++) {
        /* 32 and 33 are the C library's; the starter of this program may have ignored them. */
        if (signo == SIGKILL || signo == SIGSTOP || signo == 32 || signo == 33) continue;
        after = look(signo);
        if (memcmp(&after, &before[signo], sizeof after)) {
            printf("signal %d: %p %lx\n", signo, after.handler, after.flags);
            return 1;
        }
    }
    CHECK(sigprocmask(SIG_BLOCK, NULL, &set) == 0);
    CHECK(sigismember(&set, SIGTERM) && sigismember(&set, SIGRTMIN) && !sigismember(&set, SIGUSR1));
    CHECK(sigaltstack(NULL, &old) == 0);
    CHECK(old.ss_sp == stack && old.ss_size == sizeof stack && old.ss_flags == 0);
    CHECK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 7}) == 0);
    EQUAL(seen, SIGUSR1 * 1000 + 7);
    CHECK(on_stack);
    CHECK(raise(SIGHUP) == 0);
    puts("ok");
    return 0;
}
