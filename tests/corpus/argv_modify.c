//! at: main,ready
//! snap-args: snapshot
//! run: instance | | | 0
#include <ctype.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* Arguments may be written to, and argv may be permuted. */
int main(int argc, char **argv) {
    if (snap_ready()) argc = (int)snap_argc(), argv = snap_argv();
    for (char *p = argv[1]; *p; p++) *p = (char)toupper(*p);
    char *swap = argv[0];
    argv[0] = argv[1];
    argv[1] = swap;
    printf("%s %d\n", argv[0], argv[1] != NULL);
    (void)argc;
    return 0;
}
