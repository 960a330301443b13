//! variants: O2,static
//! same-or-noted: has copied its environment | --keep-environment
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

/* The program moves its environment to memory of its own, to write a title over the old one, and frees it at its end,
   as php-fpm does. */
int main(void) {
    int count = 0;
    while (environ[count]) count++;
    char **copy = calloc(count + 1, sizeof *copy);
    for (int at = 0; copy && at < count; at++) copy[at] = strdup(environ[at]);
    environ = copy;
    snap_ready();
    copy = environ;
    environ = NULL;
    for (char **string = copy; *string; string++) free(*string);
    free(copy);
    printf("freed\n");
    return 0;
}
