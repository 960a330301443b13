/* eventfd, timerfd, signalfd, pidfd. */
#include "fd_check.h"
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>

int main(void) {
    uint64_t value;
    int counter = eventfd(7, EFD_CLOEXEC), many = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
    int large = eventfd(0, 0), zero = eventfd(0, EFD_NONBLOCK);
    value = 0x123456789abcull;
    CHECK(write(large, &value, 8) == 8);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN + 3);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    struct itimerspec far = {{50, 0}, {100, 0}}, soon = {{0, 0}, {0, 1}}, ticking = {{0, 1000000}, {0, 1}}, now;
    int pending = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), fired = timerfd_create(CLOCK_BOOTTIME, 0);
    int interval = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC), off = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    CHECK(timerfd_settime(pending, 0, &far, NULL) == 0 && timerfd_settime(fired, 0, &soon, NULL) == 0);
    CHECK(timerfd_settime(interval, 0, &ticking, NULL) == 0);
    struct pollfd wait[2] = {{.fd = fired, .events = POLLIN}, {.fd = interval, .events = POLLIN}};
    CHECK(poll(&wait[0], 1, -1) == 1 && poll(&wait[1], 1, -1) == 1);
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, NULL);
    int self = (int)syscall(434 /* pidfd_open */, getpid(), 0);
    CHECK(counter >= 0 && many >= 0 && signals >= 0 && pending >= 0 && self >= 0);

    snap_ready();

    CHECK(cloexec(counter) && read(counter, &value, 8) == 8 && value == 7);
    CHECK(has_flags(many, O_NONBLOCK) && read(many, &value, 8) == 8 && value == 1);
    CHECK(read(many, &value, 8) == 8 && read(many, &value, 8) == 8 && read(many, &value, 8) == -1);
    CHECK(read(large, &value, 8) == 8 && value == 0x123456789abcull);
    CHECK(read(zero, &value, 8) == -1 && errno == EAGAIN);
    struct signalfd_siginfo info;
    CHECK(read(signals, &info, sizeof info) == -1 && errno == EAGAIN && cloexec(signals));
    CHECK(kill(getpid(), SIGRTMIN + 3) == 0 && read(signals, &info, sizeof info) == sizeof info);
    CHECK(info.ssi_signo == (uint32_t)SIGRTMIN + 3);
    CHECK(timerfd_gettime(pending, &now) == 0 && now.it_interval.tv_sec == 50);
    CHECK(now.it_value.tv_sec > 0 && now.it_value.tv_sec <= 100 && read(pending, &value, 8) == -1);
    CHECK(read(fired, &value, 8) == 8 && value == 1);
    CHECK(timerfd_gettime(interval, &now) == 0 && now.it_interval.tv_nsec == 1000000);
    CHECK(read(interval, &value, 8) == 8 && value >= 10);
    CHECK(timerfd_gettime(off, &now) == 0 && now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0);
    CHECK(syscall(424 /* pidfd_send_signal */, self, 0, NULL, 0) == 0 && kill(getpid(), 0) == 0);
    char line[256], wanted[32];
    FILE *fdinfo = (snprintf(line, sizeof line, "/proc/self/fdinfo/%d", self), fopen(line, "r"));
    snprintf(wanted, sizeof wanted, "Pid:\t%d\n", (int)getpid());
    int found = 0;
    while (fdinfo && fgets(line, sizeof line, fdinfo)) found |= !strcmp(line, wanted);
    CHECK(found);
    puts("ok");
    return 0;
}
