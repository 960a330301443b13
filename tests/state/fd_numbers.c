/* Standard streams that the program has moved, swapped or closed, and numbers that the loader might use meanwhile. */
#include "fd_check.h"

int main(void) {
    char buffer[16];
    int out = dup(1), err = dup(2), pipes[2], crossed[2];
    CHECK(dup2(err, 1) == 1 && dup2(out, 2) == 2 && close(0) == 0);
    CHECK(pipe(pipes) == 0 && pipes[0] == 0);
    CHECK(pipe(crossed) == 0);
    /* Both ends in each other's place. */
    int keep = dup(crossed[0]);
    CHECK(dup2(crossed[1], crossed[0]) == crossed[0] && dup2(keep, crossed[1]) == crossed[1] && close(keep) == 0);
    CHECK(fcntl(out, F_SETFD, FD_CLOEXEC) == 0 && dup2(pipes[1], 700) == 700);

    snap_ready();

    CHECK(shared(1, err) && shared(2, out) && cloexec(out) && !cloexec(2));
    CHECK(write(crossed[0], "x", 1) == 1 && read(crossed[1], buffer, 1) == 1 && buffer[0] == 'x');
    CHECK(shared(pipes[1], 700) && write(700, "yy", 2) == 2 && read(0, buffer, 16) == 2);
    CHECK(write(2, "ok\n", 3) == 3);
    return 0;
}
