/* Has a child, writes two lines, listens, and ends when a byte comes on its own connection to itself. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void line(const char *text) {
    if (write(1, text, strlen(text)) < 0) _exit(1);
}

int main(void) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    if (waitpid(child, NULL, 0) != child) return 1;
    line("ready ");
    line("to serve\n");
    line("serving\n");
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    /* An abstract name that the kernel chooses. */
    if (bind(server, (struct sockaddr *)&any, sizeof any.sun_family) || listen(server, 4)) return 2;
    /* Long enough to be idle, short enough for a test. */
    struct timeval wait = {.tv_usec = 400000};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(server, &set);
    if (select(server + 1, &set, NULL, NULL, &wait) != 0) return 3;
    line("accept\n");
    return 0;
}
