//! at: main,ready
//! variants: O2,static,musl-static
//! run: | | | 1
#include <errno.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    snap_ready();
    FILE *f = fopen("/nonexistent/file", "r");
    int number = errno;
    perror("fopen");
    printf("%d %s %d\n", f == NULL, strerror(number), number == ENOENT);
    errno = 0;
    printf("%d %s\n", fputc('x', stdin) == EOF, strerror(errno));
    return ferror(stdin) != 0;
}
