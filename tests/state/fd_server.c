/* A server with one TCP socket, on IPv4 and where available IPv6, and one Unix socket. The program writes the port to
 * the file `port`. Every instance answers one connection on each socket that its arguments name (t, u), prints the
 * address, and ends. */
#include "fd_check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>

static void serve(int socket) {
    char text[128] = "unix";
    struct sockaddr_storage at = {0};
    struct sockaddr_in *in = (void *)&at;
    struct sockaddr_in6 *in6 = (void *)&at;
    socklen_t len = sizeof at;
    CHECK(getsockname(socket, (struct sockaddr *)&at, &len) == 0);
    if (at.ss_family == AF_UNIX) snprintf(text, sizeof text, "unix %s", ((struct sockaddr_un *)&at)->sun_path);
    if (at.ss_family == AF_INET) snprintf(text, sizeof text, "ipv4 %d", ntohs(in->sin_port));
    if (at.ss_family == AF_INET6) snprintf(text, sizeof text, "ipv6 %d", ntohs(in6->sin6_port));
    printf("at %s\n", text);
    fflush(stdout);
    int client = accept(socket, NULL, NULL);
    CHECK(client >= 0 && write(client, text, strlen(text)) > 0 && close(client) == 0);
}

int main(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "server.sock"};
    socklen_t len = sizeof in;
    int tcp = socket(AF_INET, SOCK_STREAM, 0), six = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(bind(tcp, (struct sockaddr *)&in, sizeof in) == 0 && listen(tcp, 5) == 0);
    CHECK(getsockname(tcp, (struct sockaddr *)&in, &len) == 0);
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = in.sin_port};
    if (six < 0 || bind(six, (struct sockaddr *)&in6, sizeof in6) != 0 || listen(six, 5) != 0) close(six);
    unlink(un.sun_path);
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(local, (struct sockaddr *)&un, sizeof un) == 0 && listen(local, 5) == 0);
    FILE *file = fopen("port", "w");
    CHECK(file && fprintf(file, "%d", ntohs(in.sin_port)) > 0 && fclose(file) == 0);

    snap_ready();

    for (const char *which = snap_argc() > 1 ? snap_argv()[1] : ""; *which; which++) serve(*which == 't' ? tcp : local);
    return 0;
}
