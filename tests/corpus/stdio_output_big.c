//! at: main,ready
//! variants: O2,static
//! run: 30000 | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    (void)argc;
    if (snap_ready()) argv = snap_argv();
    int lines = atoi(argv[1]);
    for (int i = 0; i < lines; i++) printf("this is line number %d of the output\n", i);
    return 0;
}
