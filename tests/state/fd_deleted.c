/* Deleted files travel with their content: holes, several descriptions, append, O_TMPFILE, read-only, mapped. */
#include "fd_check.h"
#include <sys/mman.h>

int main(void) {
    char buffer[4096];
    int a = open("gone", O_CREAT | O_TRUNC | O_RDWR, 0640), b = open("gone", O_RDONLY);
    int c = open("gone", O_WRONLY | O_APPEND | O_CLOEXEC);
    CHECK(a >= 0 && b >= 0 && c >= 0 && unlink("gone") == 0);
    CHECK(write(a, "start", 5) == 5 && pwrite(a, "far away", 8, 3 << 20) == 8 && lseek(b, 2, SEEK_SET) == 2);
    char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, a, 3 << 20);
    CHECK(memory != MAP_FAILED && !memcmp(memory, "far away", 8));
    int lonely = open("lonely", O_CREAT | O_TRUNC | O_WRONLY, 0400);
    CHECK(lonely >= 0 && write(lonely, "text", 4) == 4 && unlink("lonely") == 0);
    int temporary = open(".", O_TMPFILE | O_RDWR, 0600);
    CHECK(temporary >= 0 && write(temporary, "tmp", 3) == 3);

    int flags = fcntl(a, F_GETFL);

    snap_ready();

    struct stat st;
    CHECK(fstat(a, &st) == 0 && st.st_size == (3 << 20) + 8 && (st.st_mode & 07777) == 0640 && st.st_nlink == 0);
    CHECK(st.st_blocks * 512 < 1 << 20);
    CHECK(fcntl(a, F_GETFL) == flags);
    CHECK(lseek(a, 0, SEEK_CUR) == 5 && read(b, buffer, 3) == 3 && !memcmp(buffer, "art", 3));
    CHECK(has_flags(c, O_APPEND) && cloexec(c) && write(c, "!", 1) == 1);
    CHECK(pread(b, buffer, 16, 3 << 20) == 9 && !memcmp(buffer, "far away!", 9));
    CHECK(!memcmp(memory, "far away!", 9) && (memory[0] = 'F') && pread(b, buffer, 1, 3 << 20) == 1 && *buffer == 'F');
    CHECK(read(c, buffer, 1) == -1 && write(b, buffer, 1) == -1);
    CHECK(fstat(lonely, &st) == 0 && (st.st_mode & 07777) == 0400 && lseek(lonely, 0, SEEK_CUR) == 4);
    CHECK(pread(temporary, buffer, 3, 0) == 3 && !memcmp(buffer, "tmp", 3) && lseek(temporary, 0, SEEK_CUR) == 3);
    puts("ok");
    return 0;
}
