//! at: syscall:clock_nanosleep
//! variants: O2,static,musl-static
//! run: | | | 0
#include <stdio.h>
#include <time.h>

/* It is the instance that sleeps: the call is made from its start. */
int main(void) {
    struct timespec t = {0, 1000000};
    printf("slept %d\n", clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL));
    return 0;
}
