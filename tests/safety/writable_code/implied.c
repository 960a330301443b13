/* Makes all readable memory that is mapped from now on executable, or maps one file twice: writable and executable. */
#define _GNU_SOURCE
#include <snap.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static const unsigned char returns_7[] = {0xb8, 7, 0, 0, 0, 0xc3};
    unsigned char *written = NULL, *executed = NULL;
    int fd = memfd_create("code", 0);
    if (argc > 1 && !strcmp(argv[1], "personality")) {
        if (personality(READ_IMPLIES_EXEC) == -1) return 1;
    } else {
        if (ftruncate(fd, 4096)) return 2;
        written = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        executed = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
        if (written == MAP_FAILED || executed == MAP_FAILED) return 3;
    }
    snap_ready();
    if (!written) {
        executed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        written = executed;
    }
    memcpy(written, returns_7, sizeof returns_7);
    return ((int (*)(void))executed)();
}
