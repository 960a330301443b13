/* A pseudo-terminal: settings, window, packet mode, both sides, and a master whose other side is closed. */
#include "fd_check.h"
#include <termios.h>

int main(void) {
    char buffer[64];
    struct termios settings;
    struct winsize window = {.ws_row = 33, .ws_col = 99};
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    CHECK(slave >= 0 && tcgetattr(slave, &settings) == 0);
    cfmakeraw(&settings);
    settings.c_cc[VMIN] = 3;
    cfsetspeed(&settings, B38400);
    CHECK(tcsetattr(slave, TCSANOW, &settings) == 0 && ioctl(master, TIOCSWINSZ, &window) == 0);
    int lonely = posix_openpt(O_RDWR | O_NOCTTY), fresh = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    CHECK(unlockpt(lonely) == 0);
    int closed = open(ptsname(lonely), O_RDWR | O_NOCTTY);
    CHECK(closed >= 0 && close(closed) == 0 && fresh >= 0);

    snap_ready();

    struct termios after;
    struct winsize size;
    CHECK(cloexec(master) && isatty(slave) && tcgetattr(slave, &after) == 0);
    CHECK(after.c_lflag == settings.c_lflag && after.c_iflag == settings.c_iflag && after.c_cc[VMIN] == 3);
    CHECK(cfgetospeed(&after) == B38400 && ioctl(slave, TIOCGWINSZ, &size) == 0 && size.ws_col == 99);
    CHECK(write(slave, "out", 3) == 3 && read(master, buffer, 64) == 3 && !memcmp(buffer, "out", 3));
    CHECK(write(master, "in!", 3) == 3 && read(slave, buffer, 64) == 3);
    CHECK(read(lonely, buffer, 64) == -1 && errno == EIO);
    CHECK(read(fresh, buffer, 64) == -1 && errno == EAGAIN);
    int locked = 0;
    CHECK(ioctl(fresh, TIOCGPTLCK, &locked) == 0 && locked == 1);
    CHECK(ioctl(master, TIOCGPTLCK, &locked) == 0 && locked == 0);
    puts("ok");
    return 0;
}
