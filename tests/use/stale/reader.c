#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char text[4096] = "";
    size_t len = 0;
    for (int i = 1; i < argc && argv[i][0] == '/'; i++) {
        int fd = open(argv[i], O_RDONLY);
        ssize_t got = fd < 0 ? 0 : read(fd, text + len, 16);
        len += got > 0 ? got : 0;
        if (fd >= 0) close(fd);
    }
    if (getenv("MANY")) {
        char name[64];
        for (int i = 0; i < 20000; i++) {
            snprintf(name, sizeof name, "/nonexistent/%d", i);
            close(open(name, O_RDONLY));
        }
    }
    if (getenv("OWN")) {
        int fd = open(getenv("OWN"), O_CREAT | O_RDWR, 0600);
        if (write(fd, "own", 3) != 3 || close(fd)) return 3;
        fd = open(getenv("OWN"), O_RDONLY);
        close(fd);
    }
    snap_ready();
    return printf("%s", text) < 0;
}
