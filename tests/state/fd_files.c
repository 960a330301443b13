/* Regular files and directories: offset, append, O_PATH, read-only; duplicates; numbers far apart. */
#include "fd_check.h"
#include <dirent.h>

int main(void) {
    char buffer[64];
    CHECK(symlink("data", "link") == 0 || errno == EEXIST);
    int made = open("data", O_CREAT | O_TRUNC | O_WRONLY, 0644);
    CHECK(made >= 0 && write(made, "0123456789", 10) == 10 && close(made) == 0);
    int log = open("log", O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0644);
    CHECK(log >= 0 && write(log, "one\n", 4) == 4);
    int in = open("data", O_RDONLY | O_CLOEXEC);
    CHECK(in >= 0 && lseek(in, 4, SEEK_SET) == 4);
    int same = dup(in), far = fcntl(in, F_DUPFD, 900), other = open("data", O_RDONLY);
    int dir = open(".", O_RDONLY | O_DIRECTORY), path = open("data", O_PATH | O_CLOEXEC);
    int link = open("link", O_PATH | O_NOFOLLOW), update = open("data2", O_CREAT | O_TRUNC | O_RDWR, 0600);
    CHECK(same >= 0 && far == 900 && other >= 0 && dir >= 0 && path >= 0 && link >= 0);
    CHECK(write(update, "abc", 3) == 3);
    int null = open("/dev/null", O_RDWR | O_NONBLOCK), zero = open("/dev/zero", O_RDONLY);
    int random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    int proc = open("/proc/self/comm", O_RDONLY), space = open("/proc/self/ns/uts", O_RDONLY);
    int init = open("/proc/1/comm", O_RDONLY);
    CHECK(init >= 0);
    DIR *listing = opendir(".");
    CHECK(listing && readdir(listing));
    long at = telldir(listing);
    struct dirent *next = readdir(listing);
    char name[256] = "";
    if (next) strcpy(name, next->d_name);
    seekdir(listing, at);

    snap_ready();

    CHECK(shared(in, same) && shared(in, far) && !shared(in, other));
    CHECK(cloexec(in) && !cloexec(same) && cloexec(path) && cloexec(random) && !cloexec(zero));
    CHECK(read(same, buffer, 2) == 2 && !memcmp(buffer, "45", 2));
    CHECK(read(far, buffer, 2) == 2 && !memcmp(buffer, "67", 2) && lseek(in, 0, SEEK_CUR) == 8);
    CHECK(read(other, buffer, 2) == 2 && !memcmp(buffer, "01", 2));
    CHECK(has_flags(log, O_WRONLY | O_APPEND) && write(log, "two\n", 4) == 4);
    int check = open("log", O_RDONLY);
    CHECK(read(check, buffer, 64) >= 8 && !memcmp(buffer, "one\ntwo\n", 8));
    struct stat a, b;
    CHECK(fstat(dir, &a) == 0 && stat(".", &b) == 0 && a.st_ino == b.st_ino);
    CHECK(openat(dir, "data", O_RDONLY) >= 0);
    CHECK(has_flags(path, O_PATH) && read(path, buffer, 1) == -1 && errno == EBADF);
    CHECK(fstat(link, &a) == 0 && S_ISLNK(a.st_mode));
    CHECK(lseek(update, 0, SEEK_CUR) == 3 && write(update, "d", 1) == 1);
    CHECK(pread(update, buffer, 4, 0) == 4 && !memcmp(buffer, "abcd", 4));
    CHECK(has_flags(null, O_NONBLOCK) && write(null, "x", 1) == 1);
    CHECK(read(zero, buffer, 8) == 8 && buffer[7] == 0 && read(random, buffer, 8) == 8);
    CHECK(read(proc, buffer, 8) == 8 && !memcmp(buffer, "fd_files", 8) && fstat(space, &a) == 0);
    CHECK(read(init, buffer, 8) > 0);
    next = readdir(listing);
    CHECK(next ? !strcmp(next->d_name, name) : name[0] == 0);
    puts("ok");
    return 0;
}
