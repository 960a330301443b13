/* The program has a secret in a variable, in declared memory, and in the file of its argument, which it maps. */
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int argc, char **argv) {
    static char declared[64];
    char *value = getenv("DB_PASSWORD"), *copy = strdup(value);
    strcpy(declared, value);
    snap_secret(declared, sizeof declared);
    if (argc > 1) mmap(0, 4096, PROT_READ, MAP_PRIVATE, open(argv[1], O_RDONLY), 0);
    snap_ready();
    fprintf(stderr, "still %d\n", !strcmp(copy, getenv("DB_PASSWORD")) && !strcmp(copy, declared) && strlen(copy) == 33);
    return 0;
}
