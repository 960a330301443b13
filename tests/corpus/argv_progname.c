//! at: main,ready
//! variants: O2,static
//! flags: -D_GNU_SOURCE
//! run: x | | | 3
#include <err.h>
#include <errno.h>
#include <error.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* The name that error() and warn() print is the program's. */
int main(int argc, char **argv) {
    if (snap_ready()) argc = (int)snap_argc(), argv = snap_argv();
    printf("%s %s\n", program_invocation_short_name, strrchr(program_invocation_name, '/'));
    printf("argv0 %s\n", strrchr(argv[0], '/'));
    fflush(stdout);
    errno = ENOENT;
    warn("first");
    error(0, EACCES, "second %d", argc);
    errx(3, "third");
}
