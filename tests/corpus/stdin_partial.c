//! variants: O2,static,musl-dynamic,musl-static
//! run: | first\nsecond\nthird without end | | 0
//! run: | | | 3
//! run: | one line only\n | | 0
#include <snap.h>
#include <stdio.h>

int main(void) {
    snap_ready();
    char line[100];
    if (!fgets(line, sizeof line, stdin)) {
        puts("no input");
        return 3;
    }
    printf("line: %s", line);
    int c, rest = 0;
    while ((c = getchar()) != EOF) rest++;
    printf("rest: %d, eof %d\n", rest, !!feof(stdin));
    return 0;
}
