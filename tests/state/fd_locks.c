/* Locks of all kinds, a lease, the owner of signals. */
#include "fd_check.h"
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

/* Whether another process is kept from locking `[start, start + len)`. */
static int is_locked(const char *path, short type, off_t start, off_t len) {
    pid_t child = fork();
    if (child == 0) {
        struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
        int fd = open(path, O_RDWR);
        _exit(fd < 0 ? 2 : fcntl(fd, F_SETLK, &lock) == -1);
    }
    int status = 2;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

int main(void) {
    int whole = open("whole", O_CREAT | O_RDWR, 0600), part = open("part", O_CREAT | O_RDWR, 0600);
    int ofd = open("ofd", O_CREAT | O_RDWR, 0600), leased = open("leased", O_CREAT | O_RDWR, 0600), ends[2];
    CHECK(close(leased) == 0 && (leased = open("leased", O_RDONLY)) >= 0);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 20};
    struct flock read_lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5};
    CHECK(flock(whole, LOCK_EX) == 0 && fcntl(part, F_SETLK, &lock) == 0 && fcntl(ofd, F_OFD_SETLK, &read_lock) == 0);
    CHECK(fcntl(leased, F_SETLEASE, F_RDLCK) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(fcntl(ends[0], F_SETOWN, getpid()) == 0 && fcntl(ends[0], F_SETSIG, SIGRTMIN + 1) == 0);

    snap_ready();

    int again = open("whole", O_RDWR);
    CHECK(flock(again, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK);
    CHECK(is_locked("part", F_RDLCK, 29, 1) == 1 && is_locked("part", F_RDLCK, 30, 1) == 0);
    CHECK(is_locked("part", F_RDLCK, 0, 10) == 0);
    CHECK(is_locked("ofd", F_WRLCK, 1 << 20, 1) == 1 && is_locked("ofd", F_RDLCK, 6, 1) == 0);
    CHECK(fcntl(leased, F_GETLEASE) == F_RDLCK);
    CHECK(fcntl(ends[0], F_GETOWN) == getpid() && fcntl(ends[0], F_GETSIG) == SIGRTMIN + 1);
    puts("ok");
    return 0;
}
