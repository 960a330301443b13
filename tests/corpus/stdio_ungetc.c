//! variants: O2,static,musl-static
//! input: data.txt abcdefghij\nsecond line\n
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* A stream in the middle of its buffer, with characters pushed back. */
int main(void) {
    FILE *f = fopen("data.txt", "r");
    if (!f) return 1;
    for (int i = 0; i < 5; i++) getc(f);
    ungetc('X', f);
    snap_ready();
    char line[64];
    printf("%ld ", ftell(f));
    printf("%s", fgets(line, sizeof line, f));
    printf("%s", fgets(line, sizeof line, f));
    printf("eof %d\n", fgets(line, sizeof line, f) == NULL && feof(f));
    return fclose(f);
}
