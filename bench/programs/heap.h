/* As many MiB of heap as the first argument says, initialised; then a request that reads 16 pages and writes 4. */
#include <stdio.h>
#include <stdlib.h>

static unsigned char *memory;
static size_t size;

static int initialise(const char *mib) {
    size = strtoul(mib, NULL, 10) << 20;
    if (size < 1 << 20) size = 1 << 20;
    memory = malloc(size);
    if (!memory) return 0;
    for (size_t i = 0; i < size; i += 64) memory[i] = (unsigned char)(i >> 12 | 1);
    return 1;
}

static void request(void) {
    unsigned long sum = 0;
    for (size_t i = 0; i < 16; i++) sum += memory[size / 16 * i];
    for (size_t i = 0; i < 4; i++) memory[size / 4 * i + 4096] = (unsigned char)sum;
    printf("%lu\n", sum);
    fflush(stdout);
}
