#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* What takes its time at every ordinary start: here, a table of primes. */
enum { LIMIT = 5000000 };
static unsigned char composite[LIMIT + 1];

static void build_table(void) {
    for (long i = 2; i * i <= LIMIT; i++)
        if (!composite[i])
            for (long k = i * i; k <= LIMIT; k += i) composite[k] = 1;
}

int main(int argc, char **argv) {
    build_table();
    if (snap_ready()) { /* 1 in an instance: from here on the arguments are its own */
        argc = (int)snap_argc();
        argv = snap_argv();
    }
    for (int i = 1; i < argc; i++) {
        long n = strtol(argv[i], NULL, 10);
        if (n < 0 || n > LIMIT) {
            fprintf(stderr, "%s: not between 0 and %d\n", argv[i], LIMIT);
            return 2;
        }
        printf("%ld is %s\n", n, n > 1 && !composite[n] ? "prime" : "not prime");
    }
    return 0;
}
