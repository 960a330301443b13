//! variants: O2,musl-static
//! input: a.txt aaaa
//! input: b.txt bbbb
//! run: | | | 0
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

/* Numbers, holes and close-on-exec flags of the descriptor table. */
int main(void) {
    int a = open("a.txt", O_RDONLY), b = open("b.txt", O_RDONLY | O_CLOEXEC);
    dup2(b, 20);
    dup3(a, 11, O_CLOEXEC);
    close(a);
    snap_ready();
    printf("b %d cloexec %d, 20 %d, 11 %d\n", b, fcntl(b, F_GETFD), fcntl(20, F_GETFD), fcntl(11, F_GETFD));
    int first = open("/dev/null", O_RDONLY);
    printf("lowest free is reused: %d\n", first == a);
    char x[2] = {0}, y[2] = {0};
    read(11, x, 1);
    read(20, y, 1);
    printf("%s %s, highest: %d\n", x, y, fcntl(21, F_GETFD));
    return 0;
}
