//! at: syscall:read:0
//! cc: gcc,clang
//! variants: O0,O2,static,nopie,musl-dynamic,musl-static
//! snap-args: x
//! run: | some words to count\nand more\n | | 0
//! run: | | | 0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The program builds a table, then waits for its input: the snapshotter stops it at the entry of the read. */
int main(void) {
    char *table = malloc(256);
    for (int i = 0; i < 256; i++) table[i] = (char)(i == ' ' || i == '\n');
    char buffer[4096];
    long n, words = 0, bytes = 0;
    while ((n = read(0, buffer, sizeof buffer)) > 0) {
        bytes += n;
        for (long i = 0; i < n; i++) words += table[(unsigned char)buffer[i]];
    }
    printf("%ld bytes, %ld separators\n", bytes, words);
    free(table);
    return 0;
}
