/* Holds descriptors that a snapshot cannot carry beside descriptors that it can. There is no snapshot, and the program
 * does not notice the attempt: data in flight is not lost or moved. The program reports this in the file `survived`. */
#include "fd_check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/un.h>

int main(void) {
    char buffer[64];
    uint64_t count = 5;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), ends[2], pair[2];
    CHECK(bind(listener, (struct sockaddr *)&in, sizeof in) == 0 && listen(listener, 5) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&in, &len) == 0);
    CHECK(connect(client, (struct sockaddr *)&in, sizeof in) == 0 && write(client, "tcp", 3) == 3);
    int events = socket(AF_NETLINK, SOCK_RAW, 15 /* NETLINK_KOBJECT_UEVENT */), parent = (int)syscall(434 /* pidfd_open */, 1, 0);
    char params[256] = {0};
    int ring = (int)syscall(425 /* io_uring_setup */, 4, params);
    CHECK(events >= 0 && parent >= 0);
    CHECK(pipe(ends) == 0 && write(ends[1], "pipe", 4) == 4);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0 && write(pair[0], "a", 1) == 1 && write(pair[0], "bc", 2) == 2);
    int event = eventfd(5, EFD_NONBLOCK), file = open("file", O_CREAT | O_TRUNC | O_RDWR, 0600);
    CHECK(write(file, "0123456789", 10) == 10 && lseek(file, 3, SEEK_SET) == 3);
    struct itimerspec spec = {{0, 0}, {1000, 0}}, now;
    int timer = timerfd_create(CLOCK_MONOTONIC, 0), set = epoll_create1(0);
    struct epoll_event wanted = {.events = EPOLLIN | EPOLLET, .data.u64 = 9}, got;
    CHECK(timerfd_settime(timer, 0, &spec, NULL) == 0 && epoll_ctl(set, EPOLL_CTL_ADD, event, &wanted) == 0);
    CHECK(epoll_wait(set, &got, 1, 0) == 1 && epoll_wait(set, &got, 1, 0) == 0);
    int before = dup(0);

    CHECK(snap_ready() == 0);

    int after = dup(0);
    CHECK(after == before + 1 && fcntl(after + 1, F_GETFD) == -1);
    CHECK(read(ends[0], buffer, 64) == 4 && !memcmp(buffer, "pipe", 4));
    CHECK(read(pair[1], buffer, 64) == 1 && read(pair[1], buffer, 64) == 2 && buffer[0] == 'b');
    CHECK(lseek(file, 0, SEEK_CUR) == 3 && epoll_wait(set, &got, 1, 0) == 0);
    CHECK(read(event, &count, 8) == 8 && count == 5);
    CHECK(timerfd_gettime(timer, &now) == 0 && now.it_value.tv_sec > 0);
    int server = accept(listener, NULL, NULL);
    CHECK(server >= 0 && read(server, buffer, 64) == 3 && write(server, "back", 4) == 4 && read(client, buffer, 64) == 4);
    int done = open("survived", O_CREAT | O_WRONLY, 0600);
    CHECK(done >= 0 && write(done, ring >= 0 ? "ring" : "none", 4) == 4);
    return 0;
}
