//! at: syscall:clock_gettime
//! variants: O2,static,musl-static
//! run: | | | 0
#include <stdio.h>
#include <time.h>

/* The point is the system call behind a function of the vDSO, which has its own code around it. */
int main(void) {
    struct timespec used;
    int failed = clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    printf("%d, %d\n", failed, clock() != (clock_t)-1);
    return failed;
}
