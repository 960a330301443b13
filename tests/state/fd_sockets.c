/* Listening and bound sockets with their options; accepting works afterwards. */
#include "fd_check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

static int number(int fd, int level, int name) {
    int value = -1;
    socklen_t len = sizeof value;
    CHECK(getsockopt(fd, level, name, &value, &len) == 0);
    return value;
}

static void set(int fd, int level, int name, int value) {
    CHECK(setsockopt(fd, level, name, &value, sizeof value) == 0);
}

int main(void) {
    int one_fd, client, fresh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, now;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "./socket"};
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    char buffer[64];
    socklen_t len = sizeof in;
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    set(tcp, SOL_SOCKET, SO_REUSEADDR, 1);
    set(tcp, SOL_SOCKET, SO_REUSEPORT, 1);
    set(tcp, IPPROTO_TCP, TCP_NODELAY, 1);
    set(tcp, SOL_SOCKET, SO_RCVBUF, 20000);
    set(tcp, SOL_SOCKET, SO_KEEPALIVE, 1);
    CHECK(bind(tcp, (struct sockaddr *)&in, sizeof in) == 0 && listen(tcp, 77) == 0);
    CHECK(getsockname(tcp, (struct sockaddr *)&in, &len) == 0 && in.sin_port);
    set(udp, SOL_SOCKET, SO_BROADCAST, 1);
    in.sin_port = 0;
    CHECK(bind(udp, (struct sockaddr *)&in, sizeof in) == 0);
    struct sockaddr_in udp_at, tcp_at;
    CHECK(getsockname(udp, (struct sockaddr *)&udp_at, &len) == 0 && getsockname(tcp, (struct sockaddr *)&tcp_at, &len) == 0);
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    if (six >= 0) {
        set(six, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        if (bind(six, (struct sockaddr *)&in6, sizeof in6) == 0)
            CHECK(listen(six, 5) == 0);
        else
            close(six), six = -1;
    }
    unlink(un.sun_path);
    int local = socket(AF_UNIX, SOCK_STREAM, 0), hidden = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK(bind(local, (struct sockaddr *)&un, sizeof un) == 0 && chmod(un.sun_path, 0660) == 0 && listen(local, 9) == 0);
    snprintf(abstract.sun_path + 1, 40, "fd_sockets-%d", (int)getpid());
    socklen_t abstract_len = (socklen_t)(sizeof(sa_family_t) + 1 + strlen(abstract.sun_path + 1));
    CHECK(bind(hidden, (struct sockaddr *)&abstract, abstract_len) == 0);

    snap_ready();

    len = sizeof now;
    CHECK(getsockname(tcp, (struct sockaddr *)&now, &len) == 0 && now.sin_port == tcp_at.sin_port);
    CHECK(has_flags(tcp, O_NONBLOCK) && number(tcp, SOL_SOCKET, SO_REUSEADDR) && number(tcp, SOL_SOCKET, SO_REUSEPORT));
    CHECK(number(tcp, IPPROTO_TCP, TCP_NODELAY) && number(tcp, SOL_SOCKET, SO_RCVBUF) == 40000);
    CHECK(number(tcp, SOL_SOCKET, SO_KEEPALIVE) && number(tcp, SOL_SOCKET, SO_ACCEPTCONN));
    struct tcp_info info;
    len = sizeof info;
    CHECK(getsockopt(tcp, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_sacked == 77);
    client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(client, (struct sockaddr *)&tcp_at, sizeof tcp_at) == 0 && write(client, "hi", 2) == 2);
    CHECK((one_fd = accept(tcp, NULL, NULL)) >= 0 && read(one_fd, buffer, 64) == 2);
    CHECK(number(udp, SOL_SOCKET, SO_BROADCAST) == 1);
    CHECK(sendto(udp, "self", 4, 0, (struct sockaddr *)&udp_at, sizeof udp_at) == 4 && read(udp, buffer, 64) == 4);
    if (six >= 0) CHECK(number(six, IPPROTO_IPV6, IPV6_V6ONLY) == 1 && number(six, SOL_SOCKET, SO_ACCEPTCONN) == 1);
    struct stat st;
    CHECK(stat(un.sun_path, &st) == 0 && (st.st_mode & 0777) == 0660);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(client, (struct sockaddr *)&un, sizeof un) == 0 && (one_fd = accept(local, NULL, NULL)) >= 0);
    CHECK(sendto(hidden, "x", 1, 0, (struct sockaddr *)&abstract, abstract_len) == 1 && read(hidden, buffer, 64) == 1);
    CHECK(cloexec(fresh) && !number(fresh, SOL_SOCKET, SO_ACCEPTCONN));
    CHECK(connect(fresh, (struct sockaddr *)&tcp_at, sizeof tcp_at) == 0);
    puts("ok");
    return 0;
}
