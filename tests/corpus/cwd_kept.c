//! at: main,ready
//! variants: O2,musl-static
//! input: here.txt content\n
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

int main(void) {
    snap_ready();
    FILE *f = fopen("here.txt", "r");
    char line[32];
    printf("%s", f ? fgets(line, sizeof line, f) : "not here\n");
    return f == NULL;
}
