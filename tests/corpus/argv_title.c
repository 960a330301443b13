//! variants: O2,static,musl-static
//! snap-env: FOO=old KEPT=1
//! run: | | FOO=new KEPT=2 | 0
//! run: | | FOO=newer KEPT=3 MORE=1 | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A title longer than the arguments, written over the environment's strings, which the program has copied before. */
static void show(void) {
    char line[64] = "";
    FILE *cmdline = fopen("/proc/self/cmdline", "r");
    if (cmdline) fread(line, 1, 40, cmdline), fclose(cmdline);
    printf("title %s\n", line);
}

int main(int argc, char **argv) {
    extern char **environ;
    int count = 0;
    (void)argc;
    while (environ[count]) count++;
    char *block = environ[0], **copy = calloc((size_t)count + 1, sizeof *copy);
    for (int i = 0; i < count; i++) copy[i] = strdup(environ[i]);
    environ = copy;
    memset(argv[0], 'x', (size_t)(block - argv[0]));
    memcpy(block, "=n", 2);
    strcpy(argv[0], "server: idle");
    snap_ready();
    show();
    strcpy(argv[0], "server: at work");
    show();
    printf("%s %s\n", getenv("FOO"), getenv("KEPT"));
    return 0;
}
