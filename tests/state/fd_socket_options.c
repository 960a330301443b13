/* Every option of a socket that can be set and read, set to another value than a new socket has, where this kernel
 * takes it. */
#include "fd_check.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static const struct option { int level, number; } options[] = {
    {0, 1}, {0, 2}, {0, 6}, {0, 7}, {0, 8}, {0, 10}, {0, 11}, {0, 12}, {0, 13}, {0, 15}, {0, 18}, {0, 20}, {0, 21},
    {0, 23}, {0, 24}, {0, 25}, {0, 26}, {0, 33}, {0, 34}, {0, 49}, {0, 51},
    {1, 2}, {1, 5}, {1, 6}, {1, 7}, {1, 8}, {1, 9}, {1, 10}, {1, 11}, {1, 12}, {1, 15}, {1, 16}, {1, 18}, {1, 29},
    {1, 34}, {1, 35}, {1, 37}, {1, 40}, {1, 41}, {1, 42}, {1, 45}, {1, 49}, {1, 60}, {1, 63}, {1, 64}, {1, 65}, {1, 72},
    {1, 74}, {1, 75}, {1, 76}, {1, 82}, {1, 83}, {1, 84},
    {6, 1}, {6, 2}, {6, 3}, {6, 4}, {6, 5}, {6, 6}, {6, 7}, {6, 8}, {6, 9}, {6, 16}, {6, 18}, {6, 23}, {6, 25}, {6, 27},
    {6, 30}, {6, 34}, {6, 36}, {6, 37}, {6, 44}, {6, 45}, {6, 46},
    {17, 1}, {17, 101}, {17, 102}, {17, 103}, {17, 104},
    {41, 2}, {41, 3}, {41, 4}, {41, 5}, {41, 8}, {41, 11}, {41, 16}, {41, 18}, {41, 19}, {41, 23}, {41, 25}, {41, 26},
    {41, 29}, {41, 31}, {41, 33}, {41, 49}, {41, 51}, {41, 53}, {41, 56}, {41, 58}, {41, 60}, {41, 62}, {41, 66},
    {41, 67}, {41, 70}, {41, 72}, {41, 73}, {41, 74}, {41, 75}, {41, 77}, {41, 78},
};
enum { COUNT = sizeof options / sizeof *options, SOCKETS = 6 };

struct value {
    socklen_t len;
    char bytes[64];
};

static struct value get(int fd, struct option option) {
    struct value value = {sizeof value.bytes, {0}};
    if (getsockopt(fd, option.level, option.number, value.bytes, &value.len) != 0) value.len = 0;
    return value;
}

/* Tries values until the option reads otherwise than before. */
static void change(int fd, struct option option) {
    static const int values[] = {1, 0, 2, 3, 20, 4096, 9000, 16384};
    struct value before = get(fd, option);
    for (size_t i = 0; before.len != 0 && i < sizeof values / sizeof *values; i++) {
        if (setsockopt(fd, option.level, option.number, &values[i], sizeof values[i]) != 0) continue;
        struct value now = get(fd, option);
        if (now.len != before.len || memcmp(now.bytes, before.bytes, now.len) != 0) return;
    }
}

int main(void) {
    static struct value all[SOCKETS][COUNT];
    int sockets[SOCKETS], changed = 0;
    CHECK((sockets[0] = socket(AF_INET, SOCK_STREAM, 0)) >= 0 && (sockets[1] = socket(AF_INET, SOCK_DGRAM, 0)) >= 0);
    CHECK((sockets[4] = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0 && (sockets[5] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
    sockets[2] = socket(AF_INET6, SOCK_STREAM, 0);
    sockets[3] = socket(AF_INET6, SOCK_DGRAM, 0);
    for (int s = 0; s < SOCKETS; s++) {
        struct value fresh[COUNT];
        for (int i = 0; i < COUNT; i++) fresh[i] = get(sockets[s], options[i]);
        for (int i = 0; i < COUNT; i++) change(sockets[s], options[i]);
        for (int i = 0; i < COUNT; i++) {
            all[s][i] = get(sockets[s], options[i]);
            changed += all[s][i].len != fresh[i].len || memcmp(all[s][i].bytes, fresh[i].bytes, fresh[i].len) != 0;
        }
    }
    CHECK(changed > 100);

    snap_ready();

    int wrong = 0;
    for (int s = 0; s < SOCKETS; s++) {
        for (int i = 0; i < COUNT; i++) {
            struct value now = get(sockets[s], options[i]), *want = &all[s][i];
            if (now.len == want->len && memcmp(now.bytes, want->bytes, now.len) == 0) continue;
            printf("socket %d, level %d, option %d: length %u, %d instead of %u, %d\n", s, options[i].level,
                   options[i].number, now.len, *(int *)now.bytes, want->len, *(int *)want->bytes);
            wrong = 1;
        }
    }
    CHECK(!wrong);
    puts("ok");
    return 0;
}
