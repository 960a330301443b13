/* A session or a process group of its own. */
#define _GNU_SOURCE
#include <unistd.h>
#include "check.h"

int main(int argc, char **argv) {
    int session = argc > 1 && strcmp(argv[1], "session") == 0;
    /* A group leader cannot lead a session: leave the group first, as a shell's job. */
    if (session && getpgid(0) == getpid()) CHECK(setpgid(0, getpgid(getppid())) == 0);
    if (session) CHECK(setsid() == getpid());
    else CHECK(setpgid(0, 0) == 0);

    snap_ready();

    EQUAL(getpgid(0), getpid());
    EQUAL(getsid(0) == getpid(), session);
    puts("ok");
    return 0;
}
