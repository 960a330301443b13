/* Connected UDP sockets, netlink sockets, and the files that /proc has of a thread. */
#include "fd_check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/syscall.h>

static int udp(struct sockaddr_in *at) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof *at;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof any) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)at, &len) == 0);
    return fd;
}

static void to(int fd, const struct sockaddr_in *at) {
    CHECK(connect(fd, (const struct sockaddr *)at, sizeof *at) == 0);
}

static int is_at(int fd, const struct sockaddr_in *at, int of_peer) {
    struct sockaddr_in now;
    socklen_t len = sizeof now;
    CHECK((of_peer ? getpeername : getsockname)(fd, (struct sockaddr *)&now, &len) == 0);
    return now.sin_port == at->sin_port && now.sin_addr.s_addr == at->sin_addr.s_addr;
}

static int passes(int from, int to) {
    char byte = 0;
    return write(from, "d", 1) == 1 && read(to, &byte, 1) == 1 && byte == 'd';
}

/* From <linux/netlink.h> and <linux/rtnetlink.h>, which a C library other than the system's does not have. */
enum { NETLINK_ROUTE = 0, RTM_GETLINK = 18, NLM_F_REQUEST = 1, NLM_F_DUMP = 0x300, RTMGRP_LINK = 1 };
struct sockaddr_nl {
    sa_family_t nl_family;
    unsigned short nl_pad;
    unsigned nl_pid, nl_groups;
};

/* The kernel answers with the links of this host. */
static int asks_for_links(int fd) {
    struct {
        unsigned length;
        unsigned short type, flags;
        unsigned sequence, pid;
        unsigned char family;
    } request = {.length = sizeof request, .type = RTM_GETLINK, .flags = NLM_F_REQUEST | NLM_F_DUMP};
    static char answer[65536];
    return send(fd, &request, sizeof request, 0) == sizeof request && recv(fd, answer, sizeof answer, 0) > 0;
}

static volatile int tid;

static void *wait_for_ever(void *unused) {
    tid = (int)syscall(SYS_gettid);
    for (;;) pause();
    return unused;
}

int main(void) {
    struct sockaddr_in at[3];
    /* Two sockets that send to each other, and a client of a server that only receives. */
    int first = udp(&at[0]), second = udp(&at[1]), server = udp(&at[2]);
    int client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    to(first, &at[1]), to(second, &at[0]), to(client, &at[2]);
    struct sockaddr_nl changes = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK}, now;
    socklen_t len = sizeof now;
    int fresh = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), watch = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
    CHECK(fresh >= 0 && watch >= 0 && bind(watch, (struct sockaddr *)&changes, sizeof changes) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0);
    while (!tid) usleep(100);
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", tid);
    int comm = open(path, O_RDONLY), again = dup(comm);
    snprintf(path, sizeof path, "/proc/%d/task/%d", getpid(), tid);
    int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(comm >= 0 && again >= 0 && directory >= 0 && pthread_setname_np(thread, "waiting") == 0);

    snap_ready();

    CHECK(is_at(first, &at[0], 0) && is_at(second, &at[1], 0) && is_at(first, &at[1], 1));
    CHECK(passes(first, second) && passes(second, first));
    CHECK(cloexec(client) && is_at(client, &at[2], 1) && passes(client, server));
    CHECK(shared(comm, again) && read(comm, text, 63) == 8 && !strcmp(text, "waiting\n"));
    CHECK(cloexec(directory) && has_flags(directory, O_PATH) && faccessat(directory, "comm", F_OK, 0) == 0);
    CHECK(asks_for_links(fresh) && getsockname(watch, (struct sockaddr *)&now, &len) == 0);
    CHECK(now.nl_groups == RTMGRP_LINK && now.nl_pid == (unsigned)getpid());
    puts("ok");
    return 0;
}
