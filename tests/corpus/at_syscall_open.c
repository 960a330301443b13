//! at: syscall:openat
//! variants: musl-static
//! snap-args: none
//! input: config.txt value 42\n
//! run: | | | 42
#include <stdio.h>

/* musl opens with open(2), so only the directory-relative call matches. */
#include <fcntl.h>
#include <unistd.h>

int main(void) {
    char text[32] = {0};
    int value = 0, early = open("config.txt", O_RDONLY);
    int fd = openat(AT_FDCWD, "config.txt", O_RDONLY);
    read(fd, text, 31);
    sscanf(text, "value %d", &value);
    printf("%d, early %d, descriptor after it %d\n", value, early >= 0, fd > early);
    return value;
}
