/* Serves a socket as another user, and prints how much a client sends: bytes, and bytes of control messages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv) {
    static char bytes[65536], control[1024];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct iovec vector = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), uid = atoi(argv[2]);
    strncpy(at.sun_path, argv[1], sizeof at.sun_path - 1);
    umask(0);
    if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)) return 1;
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 1)) return 2;
    puts("listening");
    fflush(stdout);
    long got = recvmsg(accept(fd, NULL, NULL), &message, 0);
    printf("%ld %ld\n", got, got > 0 ? (long)message.msg_controllen : 0);
    return 0;
}
