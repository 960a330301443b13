#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* stdio has chosen by the pipe of `create` how it buffers standard output; `own`: the program has chosen. */
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "own")) setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    printf("first\n");
    snap_ready();
    printf("line\n");
    if (write(1, "direct\n", 7) != 7) return 1;
    printf("rest\n");
    return 0;
}
