//! variants: O2,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0);
    snap_ready();
    printf("a");
    write(1, "b", 1);
    printf("c\n");
    return 0;
}
