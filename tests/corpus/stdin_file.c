//! stdin: file
//! variants: O2,static,musl-static
//! run: | alpha\nbeta\ngamma\n | | 0
//! run: | {5000*line\n} | | 0
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

/* A seekable standard input. */
int main(void) {
    snap_ready();
    char line[64];
    printf("%s", fgets(line, sizeof line, stdin));
    printf("position %ld\n", ftell(stdin));
    fseek(stdin, 0, SEEK_END);
    printf("size %ld\n", ftell(stdin));
    rewind(stdin);
    printf("%s", fgets(line, sizeof line, stdin));
    printf("offset is set: %d\n", lseek(0, 0, SEEK_CUR) > 0);
    return 0;
}
