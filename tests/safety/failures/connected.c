/* The program holds a connected socket as descriptor 77. */
#include <arpa/inet.h>
#include <snap.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
    bind(l, (struct sockaddr *)&a, len);
    listen(l, 1);
    getsockname(l, (struct sockaddr *)&a, &len);
    if (connect(c, (struct sockaddr *)&a, len)) return 9;
    dup2(c, 77);
    close(c);
    snap_ready();
    return 0;
}
