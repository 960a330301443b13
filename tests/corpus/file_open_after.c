//! at: main,ready
//! variants: O2,static,musl-static
//! input: in.txt 3 4 5
//! files: result.txt
//! run: | | | 12
#include <snap.h>
#include <stdio.h>

int main(void) {
    snap_ready();
    FILE *in = fopen("in.txt", "r"), *out = fopen("result.txt", "w");
    int a, b, c;
    if (!in || !out || fscanf(in, "%d %d %d", &a, &b, &c) != 3) return 1;
    fprintf(out, "%d\n", a + b + c);
    printf("done\n");
    return fclose(out) ? 1 : a + b + c;
}
