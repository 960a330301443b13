/* Prints and exits with values that its arguments and its input select from memory that the initialisation filled. */
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int counter = 1000;

int main(int argc, char **argv) {
    (void)argc;
    size_t n = 4 << 20;
    unsigned char *heap = malloc(n);
    for (size_t i = 0; i < n; i++) heap[i] = (unsigned char)(i * 7);
    if (snap_ready()) argv = snap_argv();
    int id = atoi(argv[1]);
    for (size_t i = (size_t)id; i < n; i += 5000) heap[i] ^= (unsigned char)id;
    counter += id;
    char line[64];
    if (!fgets(line, sizeof line, stdin)) return 99; /* all are alive until they are told to go on */
    for (size_t i = (size_t)id; i < n; i += 5000) heap[i] ^= (unsigned char)id;
    int good = counter == 1000 + id;
    for (size_t i = 0; i < n; i++) good &= heap[i] == (unsigned char)(i * 7);
    printf("%d %d %d %s", id, good, (int)getpid(), line);
    return id % 100;
}
