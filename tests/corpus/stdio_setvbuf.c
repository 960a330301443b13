//! variants: O2,static,musl-static
//! snap-args: full
//! run: x | | | 0
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

static char own[37];

int main(void) {
    setvbuf(stdout, own, _IOFBF, sizeof own);
    setvbuf(stderr, NULL, _IOLBF, 256);
    snap_ready();
    for (int i = 0; i < 50; i++) printf("line %d\n", i);
    fprintf(stderr, "partial ");
    write(2, "|", 1);
    fprintf(stderr, "line\n");
    fflush(stdout);
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("unbuffered");
    write(1, "!", 1);
    printf("\n");
    return 0;
}
