//! at: main,ready
//! cc: gcc
//! flags: -fsanitize=address
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* AddressSanitizer reserves 14 TiB and keeps them out of core dumps. */
int main(void) {
    int *numbers = malloc(10 * sizeof *numbers);
    numbers[3] = 1;
    snap_ready();
    printf("%d\n", numbers[3]);
    free(numbers);
    return 0;
}
