//! variants: O2,static,musl-static
//! files: out.txt
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

int main(int argc, char **argv) {
    (void)argc;
    FILE *f = fopen("out.txt", "w");
    fprintf(f, "first line\n");
    if (snap_ready()) argv = snap_argv();
    fprintf(f, "second line\n");
    printf("at %ld\n", ftell(f));
    (void)argv;
    return fclose(f);
}
