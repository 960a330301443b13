//! at: syscall:read:0
//! variants: O2,musl-dynamic
//! flags: -D_GNU_SOURCE
//! run: | b\na\nd\nc\n | | 4
//! run: | {300*word\n}last | | 255
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int main(void) {
    static char *lines[1000];
    size_t room = 0;
    int count = 0;
    char *line = NULL;
    while (getline(&line, &room, stdin) > 0) {
        line[strcspn(line, "\n")] = 0;
        lines[count++] = strdup(line);
    }
    qsort(lines, (size_t)count, sizeof *lines, by_text);
    for (int i = 0; i < count; i++) puts(lines[i]);
    return count > 255 ? 255 : count;
}
