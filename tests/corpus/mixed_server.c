//! at: syscall:read:0
//! cc: gcc,clang
//! variants: O2,lto,static,musl-static
//! snap-args: 5000
//! run: | get 17\nput 17 99\nget 17\nsum\nquit\n | | 0
//! run: | get 4999\nget 5000\n | | 0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line protocol over a table that was filled at start: what a worker process looks like. */
struct entry {
    int key, value;
};

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 5000;
    if (n < 5000) n = 5000;
    struct entry *table = calloc((size_t)n, sizeof *table);
    for (int i = 0; i < n; i++) table[i] = (struct entry){i, i * 3};
    char line[100], command[16];
    while (fgets(line, sizeof line, stdin)) {
        int key = 0, value = 0;
        sscanf(line, "%15s %d %d", command, &key, &value);
        if (!strcmp(command, "quit")) break;
        if (!strcmp(command, "get")) printf("%d\n", key < n ? table[key].value : -1);
        if (!strcmp(command, "put")) printf("was %d\n", table[key].value), table[key].value = value;
        if (!strcmp(command, "sum")) {
            long sum = 0;
            for (int i = 0; i < n; i++) sum += table[i].value;
            printf("%ld\n", sum);
        }
    }
    free(table);
    puts("bye");
    return 0;
}
