/* Binds a socket, sets its mode, and prints in an instance the kind of its file. */
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
int main(int argc, char **argv) {
    static char path[108];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat file;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(path, argv[1], sizeof path - 1);
    memcpy(at.sun_path, path, sizeof path);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || chmod(path, 0602) || listen(fd, 1)) return 1;
    snap_ready();
    if (lstat(path, &file)) return 2;
    return printf("%o\n", file.st_mode) < 0;
}
