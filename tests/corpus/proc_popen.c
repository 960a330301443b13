//! at: main,ready
//! variants: O2,musl-dynamic
//! run: | | X=from-the-instance | 7
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

int main(void) {
    snap_ready();
    char line[100];
    FILE *p = popen("echo popened $X; exit 7", "r");
    while (fgets(line, sizeof line, p)) printf("%s", line);
    int status = pclose(p);
    fflush(stdout);
    printf("system %d\n", system("echo from system; kill -9 $$") == SIGKILL);
    return WEXITSTATUS(status);
}
