//! at: ready
//! variants: O2,musl-static
//! run: | {200000*0123456789} | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* Two megabytes through a pipe, into a buffer that grows. */
int main(void) {
    snap_ready();
    size_t size = 0, room = 16;
    unsigned char *data = malloc(room);
    size_t n;
    while ((n = fread(data + size, 1, room - size, stdin)) > 0) {
        size += n;
        if (size == room) data = realloc(data, room *= 2);
    }
    unsigned long hash = 5381;
    for (size_t i = 0; i < size; i++) hash = hash * 33 + data[i];
    printf("%zu %lu\n", size, hash);
    return 0;
}
