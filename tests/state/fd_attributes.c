/* Mode, times and extended attributes of files that only a descriptor names. */
#include "fd_check.h"
#include <sys/mman.h>
#include <sys/xattr.h>

static const struct timespec times[2] = {{1000000000, 123456789}, {-5, 999999999}};

/* Sets everything; whether the file system takes extended attributes. */
static int prepare(int fd, mode_t mode) {
    CHECK(write(fd, "content", 7) == 7 && fchmod(fd, mode) == 0);
    int has = fsetxattr(fd, "user.colour", "blue", 4, 0) == 0;
    if (has) CHECK(fsetxattr(fd, "user.empty", "", 0, 0) == 0);
    CHECK(futimens(fd, times) == 0);
    return has;
}

static void verify(int fd, mode_t mode, int has) {
    struct stat st;
    char value[16];
    CHECK(fstat(fd, &st) == 0);
    CHECK((st.st_mode & 07777) == mode);
    CHECK(st.st_atim.tv_sec == times[0].tv_sec);
    CHECK(st.st_atim.tv_nsec == times[0].tv_nsec);
    CHECK(st.st_mtim.tv_sec == times[1].tv_sec);
    CHECK(st.st_mtim.tv_nsec == times[1].tv_nsec);
    if (has) {
        CHECK(fgetxattr(fd, "user.colour", value, sizeof value) == 4 && !memcmp(value, "blue", 4));
        CHECK(fgetxattr(fd, "user.empty", value, sizeof value) == 0);
        CHECK(fremovexattr(fd, "user.colour") == 0);
    }
}

int main(void) {
    int memory = memfd_create("memory", 0), sealed = memfd_create("sealed", MFD_ALLOW_SEALING);
    int deleted = open("attributes", O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(memory >= 0 && sealed >= 0 && deleted >= 0 && unlink("attributes") == 0);
    int has[3] = {prepare(memory, 0400), prepare(sealed, 01755), prepare(deleted, 0640)};
    CHECK(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) == 0);

    snap_ready();

    verify(memory, 0400, has[0]);
    verify(sealed, 01755, has[1]);
    verify(deleted, 0640, has[2]);
    puts("ok");
    return 0;
}
