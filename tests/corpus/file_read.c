//! variants: O2,static,musl-dynamic,musl-static
//! input: data.txt line one\nline two\nline three\n
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

int main(void) {
    FILE *f = fopen("data.txt", "r");
    char line[64];
    if (!f || !fgets(line, sizeof line, f)) return 1;
    snap_ready();
    printf("before: %s", line);
    while (fgets(line, sizeof line, f)) printf("after: %s", line);
    return fclose(f);
}
