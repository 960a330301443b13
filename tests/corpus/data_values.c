//! variants: O2,static,musl-static
//! snap-env: K_TEST=old
//! run: | | K_TEST=new | 0
//! run: | | K_TEST=new OTHER=1 | 0
#include <snap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Data that merely equals a word which is new in every instance stays: keys of tables, checksums, numbers. */
struct record {
    uintptr_t key;
    int payload;
};
struct holder {
    char **vector;
    uint64_t count;
};

static uint64_t hash(const void *data, size_t len) {
    uint64_t h = 1469598103934665603u;
    for (const unsigned char *c = data; len--;) h = (h ^ *c++) * 1099511628211u;
    return h;
}

int main(int argc, char **argv) {
    extern char **environ;
    (void)argc;
    uint64_t canary;
    __asm__("mov %%fs:0x28, %0" : "=r"(canary));
    struct record *table = calloc(1024, sizeof *table);
    uintptr_t vector = (uintptr_t)environ;
    table[vector >> 3 & 1023] = (struct record){vector, 77};
    table[(uintptr_t)argv >> 3 & 1023] = (struct record){(uintptr_t)argv, 78};
    struct holder *holder = malloc(sizeof *holder);
    *holder = (struct holder){environ, 5};
    uint64_t check = hash(holder, sizeof *holder);
    uint64_t *numbers = malloc(64 * sizeof *numbers);
    for (int i = 0; i < 64; i++) numbers[i] = i == 20 ? canary : (uint64_t)i * 77777;
    uint64_t sum = hash(numbers, 64 * sizeof *numbers);
    /* The frame must not hold the canary itself, which is new in every instance there: a compiler may keep either. */
    volatile uint64_t masked = canary ^ 0x5555;
    snap_ready();
    printf("by the environment of then: %d\n", table[vector >> 3 & 1023].key == vector);
    printf("by the arguments: %d\n", table[(uintptr_t)argv >> 3 & 1023].payload == 78);
    printf("checksum with a pointer: %d\n", hash(holder, sizeof *holder) == check);
    printf("checksum of numbers: %d\n", hash(numbers, 64 * sizeof *numbers) == sum && numbers[20] == (masked ^ 0x5555));
    printf("environment: %s\n", getenv("K_TEST") ? getenv("K_TEST") : "-");
    return 0;
}
