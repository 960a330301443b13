/* activate NAMES PORT|PATH... -- COMMAND... runs COMMAND with listening sockets, as socket activation of systemd. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int count = 0, at = 2;
    char number[16];
    for (; at < argc && strcmp(argv[at], "--"); at++, count++) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int is_path = argv[at][0] == '/', one = 1;
        int fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
        in.sin_port = htons((unsigned short)atoi(argv[at]));
        strncpy(un.sun_path, argv[at], sizeof un.sun_path - 1);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        int bound = is_path ? bind(fd, (struct sockaddr *)&un, sizeof un) : bind(fd, (struct sockaddr *)&in, sizeof in);
        if (fd != 3 + count || bound != 0 || listen(fd, 5) != 0) return perror(argv[at]), 99;
    }
    snprintf(number, sizeof number, "%d", count);
    setenv("LISTEN_FDS", number, 1);
    snprintf(number, sizeof number, "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
    setenv("LISTEN_FDNAMES", argv[1], 1);
    execv(argv[at + 1], argv + at + 1);
    return perror(argv[at + 1]), 99;
}
