//! run: | ignored | | 0
#include <errno.h>
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

/* The program closed its standard input and put a file there. */
int main(void) {
    FILE *f = fopen("own.txt", "w");
    fputs("from the file", f);
    fclose(f);
    close(0);
    int fd = open("own.txt", O_RDONLY);
    snap_ready();
    char line[64] = {0};
    long n = read(0, line, sizeof line - 1);
    printf("fd %d, %ld bytes: %s\n", fd, n, line);
    return 0;
}
