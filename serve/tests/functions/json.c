/* Body in, body out. The body says what it does; see ../protocols.rs and ../operations.rs. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "one"
#endif

int main(void) {
    static char body[300000];
    size_t count = fread(body, 1, sizeof body - 1, stdin);
    if (strstr(body, "fail")) return 3;
    if (strstr(body, "killed")) raise(SIGKILL);
    if (strstr(body, "wait")) {
        fprintf(stderr, "begun\n");
        for (;;) pause();
    }
    /* Until the file that it names exists. */
    if (!strncmp(body, "until /", 7)) {
        fprintf(stderr, "begun\n");
        while (access(body + 6, F_OK)) usleep(1000);
    }
    if (strstr(body, "variables")) {
        printf("%s %s", getenv("A") ? getenv("A") : "", getenv("SNAPFN_REQUEST_ID"));
        return 0;
    }
    printf("{\"version\":\"%s\",\"count\":%zu}", VERSION, count);
    return 0;
}
