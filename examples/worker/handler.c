/* Counts the words of its input that are in a list it has read before. */
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *list[] = {"fresh", "instance", "process", "snapshot", "start"};
static char *words[1000];
static int requests;

int main(void) {
    size_t count = sizeof list / sizeof *list;
    for (size_t i = 0; i < count; i++) words[i] = strdup(list[i]);
    snap_ready();
    char word[64];
    int known = 0;
    while (scanf("%63s", word) == 1)
        for (size_t i = 0; i < count; i++) known += !strcmp(word, words[i]);
    printf("%d known words, request %d of this process\n", known, ++requests);
    return 0;
}
