/* Pipes and FIFOs: both ends, bytes in flight, packets, sizes, ends that are closed. */
#include "fd_check.h"
#include <signal.h>

int main(void) {
    char buffer[100000], big[90000];
    int plain[2], small[2], packets[2], half[2], broken[2];
    signal(SIGPIPE, SIG_IGN);
    memset(big, 'b', sizeof big);
    CHECK(pipe(plain) == 0 && write(plain[1], "in flight", 9) == 9);
    int again = dup(plain[0]), more = open("/proc/self/fd/4", O_WRONLY | O_NONBLOCK);
    CHECK(again >= 0 && plain[1] == 4 && more >= 0);
    CHECK(pipe2(small, O_CLOEXEC | O_NONBLOCK) == 0 && fcntl(small[1], F_SETPIPE_SZ, 262144) == 262144);
    CHECK(write(small[1], big, sizeof big) == sizeof big);
    CHECK(pipe2(packets, O_DIRECT) == 0 && write(packets[1], "one", 3) == 3 && write(packets[1], "three", 5) == 5);
    CHECK(pipe(half) == 0 && write(half[1], "last words", 10) == 10 && close(half[1]) == 0);
    CHECK(pipe(broken) == 0 && close(broken[0]) == 0);
    unlink("fifo");
    CHECK(mkfifo("fifo", 0600) == 0);
    int reader = open("fifo", O_RDONLY | O_NONBLOCK), writer = open("fifo", O_WRONLY);
    CHECK(reader >= 0 && writer >= 0 && write(writer, "queued", 6) == 6);

    snap_ready();

    CHECK(shared(plain[0], again) && !shared(plain[1], more) && has_flags(more, O_NONBLOCK));
    CHECK(!has_flags(plain[0], O_NONBLOCK) && !has_flags(plain[1], O_NONBLOCK));
    CHECK(write(more, "!", 1) == 1 && read(plain[0], buffer, 64) == 10 && !memcmp(buffer, "in flight!", 10));
    CHECK(cloexec(small[0]) && has_flags(small[0], O_NONBLOCK) && fcntl(small[0], F_GETPIPE_SZ) == 262144);
    CHECK(read(small[0], buffer, sizeof buffer) == sizeof big && !memcmp(buffer, big, sizeof big));
    CHECK(read(small[0], buffer, 1) == -1 && errno == EAGAIN);
    CHECK(has_flags(packets[1], O_DIRECT) && read(packets[0], buffer, 64) == 3 && read(packets[0], buffer, 64) == 5);
    CHECK(read(half[0], buffer, 64) == 10 && !memcmp(buffer, "last words", 10) && read(half[0], buffer, 64) == 0);
    CHECK(write(broken[1], "x", 1) == -1 && errno == EPIPE);
    CHECK(has_flags(reader, O_NONBLOCK) && !has_flags(writer, O_NONBLOCK));
    CHECK(read(reader, buffer, 64) == 6 && !memcmp(buffer, "queued", 6));
    CHECK(close(writer) == 0 && read(reader, buffer, 64) == 0);
    puts("ok");
    return 0;
}
