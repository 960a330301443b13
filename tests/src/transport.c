/* State that is made before `main`: a table that does not compress, and the time when it was made. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static unsigned *table;
static long born;
__attribute__((constructor)) static void fill(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    born = now.tv_sec * 1000000000L + now.tv_nsec;
    table = malloc(SIZE);
    unsigned x = SEED;
    for (int i = 0; i < SIZE / 4; i++) { x ^= x << 13; x ^= x >> 17; x ^= x << 5; table[i] = x; }
}
int main(int argc, char **argv) {
    unsigned sum = 0;
    for (int i = 0; i < SIZE / 4; i++) sum = sum * 31 + table[i];
    printf("%ld %u %s\n", born, sum, argc > 1 ? argv[1] : "nobody");
    return argc;
}
