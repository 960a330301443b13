/* Epoll: data, modes, nesting, duplicates. */
#include "fd_check.h"
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static void add(int set, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
}

int main(void) {
    struct epoll_event got[8];
    uint64_t one = 1;
    int inner = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(0);
    int level = eventfd(1, 0), edge = eventfd(0, 0), once = eventfd(1, 0), copy = dup(level), deep = eventfd(0, 0);
    add(outer, level, EPOLLIN, 0x1122334455667788ull);
    add(outer, copy, EPOLLIN | EPOLLRDHUP, 2);
    add(outer, edge, EPOLLIN | EPOLLET, 3);
    add(outer, once, EPOLLIN | EPOLLONESHOT, 4);
    add(inner, deep, EPOLLIN, 5);
    add(outer, inner, EPOLLIN, 6);
    int same = dup(outer);

    snap_ready();

    CHECK(cloexec(inner) && shared(outer, same));
    int seen = 0, count = epoll_wait(same, got, 8, 0);
    for (int i = 0; i < count; i++) {
        if (got[i].data.u64 == 0x1122334455667788ull && got[i].events == EPOLLIN) seen |= 1;
        if (got[i].data.u64 == 2) seen |= 2;
        if (got[i].data.u64 == 4) seen |= 4;
    }
    CHECK(count == 3 && seen == 7);
    CHECK(read(level, &one, 8) == 8);
    CHECK(epoll_wait(outer, got, 8, 0) == 0);
    one = 1;
    CHECK(write(once, &one, 8) == 8 && epoll_wait(outer, got, 8, 0) == 0);
    CHECK(write(edge, &one, 8) == 8 && epoll_wait(outer, got, 8, 0) == 1 && got[0].data.u64 == 3);
    CHECK(epoll_wait(outer, got, 8, 0) == 0);
    CHECK(write(deep, &one, 8) == 8 && epoll_wait(outer, got, 8, 0) == 1 && got[0].data.u64 == 6);
    CHECK(epoll_wait(inner, got, 8, 0) == 1 && got[0].data.u64 == 5);
    CHECK(epoll_ctl(outer, EPOLL_CTL_DEL, copy, NULL) == 0 && epoll_ctl(outer, EPOLL_CTL_DEL, 77, NULL) == -1);
    puts("ok");
    return 0;
}
