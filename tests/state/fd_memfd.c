/* memfd: content, name, seals, several descriptions, a shared mapping. */
#include "fd_check.h"
#include <sys/mman.h>

int main(void) {
    char buffer[64], name[256];
    int plain = memfd_create("plain", MFD_CLOEXEC), sealed = memfd_create("sealed", MFD_ALLOW_SEALING);
    int open_to = memfd_create("later", MFD_ALLOW_SEALING);
    CHECK(write(plain, "content", 7) == 7 && ftruncate(plain, 5 << 20) == 0 && pwrite(plain, "end", 3, 4 << 20) == 3);
    snprintf(name, sizeof name, "/proc/self/fd/%d", plain);
    int reader = open(name, O_RDONLY);
    CHECK(reader >= 0 && lseek(reader, 3, SEEK_SET) == 3);
    char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
    CHECK(memory != MAP_FAILED && (memory[4096] = 'm'));
    CHECK(write(sealed, "fixed", 5) == 5 && fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_SEAL) == 0);

    snap_ready();

    struct stat st;
    CHECK(fstat(plain, &st) == 0 && st.st_size == 5 << 20 && cloexec(plain) && lseek(plain, 0, SEEK_CUR) == 7);
    CHECK(pread(plain, buffer, 7, 0) == 7 && !memcmp(buffer, "content", 7));
    CHECK(pread(plain, buffer, 3, 4 << 20) == 3 && !memcmp(buffer, "end", 3) && st.st_blocks < 1000);
    CHECK(!shared(plain, reader) && read(reader, buffer, 4) == 4 && !memcmp(buffer, "tent", 4));
    CHECK(memory[4096] == 'm' && !memcmp(memory, "content", 7) && (memory[4097] = 'n'));
    CHECK(pread(reader, buffer, 2, 4096) == 2 && !memcmp(buffer, "mn", 2) && pwrite(plain, "o", 1, 4098) == 1);
    CHECK(memory[4098] == 'o');
    CHECK(write(reader, "x", 1) == -1 && pwrite(plain, "C", 1, 0) == 1 && pread(reader, buffer, 1, 0) == 1);
    CHECK(buffer[0] == 'C' && fcntl(plain, F_GET_SEALS) == F_SEAL_SEAL);
    CHECK(fcntl(sealed, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_SEAL) && write(sealed, "x", 1) == -1);
    CHECK(pread(sealed, buffer, 5, 0) == 5 && !memcmp(buffer, "fixed", 5));
    CHECK(fcntl(open_to, F_GET_SEALS) == 0 && fcntl(open_to, F_ADD_SEALS, F_SEAL_GROW) == 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", plain);
    ssize_t len = readlink(name, buffer, sizeof buffer - 1);
    CHECK(len > 0 && !memcmp(buffer, "/memfd:plain", 12));
    puts("ok");
    return 0;
}
