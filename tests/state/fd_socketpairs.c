/* Unix socket pairs: queued bytes and messages, passed descriptors, half-closed and closed ends, options. */
#include "fd_check.h"

static void pass(int socket, const char *text, int fd) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec vector = {(void *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    CHECK(sendmsg(socket, &message, 0) == (ssize_t)strlen(text));
}

static int take(int socket, char *text, size_t len) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec vector = {text, len};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fd = -1;
    CHECK(recvmsg(socket, &message, 0) >= 0 && message.msg_controllen >= sizeof control.header);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    return fd;
}

int main(void) {
    static char buffer[200000], big[100000];
    int stream[2], datagrams[2], packets[2], passing[2], orphan[2], half[2], hidden[2], one = 1, size = 300000;
    memset(big, 'z', sizeof big);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, stream) == 0);
    CHECK(setsockopt(stream[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one) == 0);
    CHECK(setsockopt(stream[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one) == 0);
    CHECK(write(stream[0], "to one", 6) == 6 && write(stream[1], big, sizeof big) == sizeof big);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams) == 0);
    CHECK(setsockopt(datagrams[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
    CHECK(write(datagrams[0], "first", 5) == 5 && write(datagrams[0], "", 0) == 0 && write(datagrams[0], "2nd", 3) == 3);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets) == 0);
    CHECK(write(packets[1], "a", 1) == 1 && write(packets[1], "bb", 2) == 2);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, passing) == 0 && pipe(hidden) == 0);
    CHECK(write(hidden[1], "secret", 6) == 6);
    int file = open("passed", O_CREAT | O_TRUNC | O_RDWR, 0600);
    CHECK(file >= 0 && write(file, "file", 4) == 4);
    pass(passing[0], "known", file);
    pass(passing[0], "unknown", hidden[0]);
    CHECK(close(hidden[0]) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, orphan) == 0 && write(orphan[1], "left", 4) == 4 && close(orphan[1]) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, half) == 0 && shutdown(half[0], SHUT_WR) == 0);

    snap_ready();

    CHECK(has_flags(stream[0], O_NONBLOCK) && read(stream[1], buffer, 64) == 6 && !memcmp(buffer, "to one", 6));
    size_t got = 0;
    for (ssize_t n; (n = read(stream[0], buffer + got, sizeof buffer - got)) > 0;) got += n;
    CHECK(got == sizeof big && !memcmp(buffer, big, got));
    socklen_t len = sizeof one;
    one = 0;
    CHECK(getsockopt(stream[0], SOL_SOCKET, SO_PASSCRED, &one, &len) == 0 && one == 1);
    CHECK(read(datagrams[1], buffer, 64) == 5 && read(datagrams[1], buffer, 64) == 0);
    CHECK(read(datagrams[1], buffer, 64) == 3 && !memcmp(buffer, "2nd", 3));
    CHECK(getsockopt(datagrams[1], SOL_SOCKET, SO_SNDBUF, &size, &len) == 0 && size >= 212992);
    CHECK(cloexec(packets[0]) && read(packets[0], buffer, 64) == 1 && read(packets[0], buffer, 64) == 2);
    int known = take(passing[1], buffer, 5), unknown = take(passing[1], buffer, 64);
    CHECK(shared(known, file) && lseek(known, 0, SEEK_CUR) == 4);
    CHECK(read(unknown, buffer, 64) == 6 && !memcmp(buffer, "secret", 6));
    CHECK(write(hidden[1], "x", 1) == 1 && read(unknown, buffer, 64) == 1);
    CHECK(read(orphan[0], buffer, 64) == 4 && read(orphan[0], buffer, 64) == 0);
    CHECK(read(half[1], buffer, 64) == 0 && write(half[1], "y", 1) == 1 && read(half[0], buffer, 64) == 1);
    CHECK(send(half[0], "z", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
    puts("ok");
    return 0;
}
