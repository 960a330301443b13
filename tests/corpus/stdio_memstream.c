//! variants: O2,static,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    fprintf(out, "written before %d; ", 1);
    static char input[] = "10 20 30 40";
    FILE *in = fmemopen(input, sizeof input - 1, "r");
    int a = 0, b = 0;
    fscanf(in, "%d", &a);
    snap_ready();
    fscanf(in, "%d", &b);
    fprintf(out, "written after %d %d", a, b);
    for (int i = 0; i < 1000; i++) fprintf(out, ".");
    fclose(out);
    fclose(in);
    printf("%zu %s\n", size, text);
    free(text);
    return 0;
}
