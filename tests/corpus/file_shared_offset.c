//! input: a.txt abcdefghij
//! run: | | | 0
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

/* Duplicates share their offset, a second open of the same file has its own. */
int main(void) {
    int a = open("a.txt", O_RDONLY), copy = dup(a), other = open("a.txt", O_RDONLY);
    char c[4] = {0};
    read(a, c, 1);
    snap_ready();
    read(copy, c, 1);
    read(a, c + 1, 1);
    read(other, c + 2, 1);
    printf("%s\n", c);
    return 0;
}
