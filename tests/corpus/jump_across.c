//! cc: gcc,clang
//! variants: O0,O2,static,musl-dynamic,musl-static
//! run: 4 | | | 4
//! snap-args: 1
#include <setjmp.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

/* setjmp before the snapshot, longjmp after it. */
static jmp_buf env;
static int last;

__attribute__((noinline)) static void deeper(int n, int value) {
    volatile char frame[200];
    frame[n] = 1;
    if (n) deeper(n - 1, value);
    else longjmp(env, value);
}

int main(int argc, char **argv) {
    (void)argc;
    volatile int rounds = 0;
    int value = setjmp(env);
    if (value == 0) {
        if (snap_ready()) argv = snap_argv();
        last = atoi(argv[1]); /* a local that changes after setjmp() is lost at longjmp() */
        printf("first time\n");
        deeper(30, 1);
    }
    rounds++;
    printf("came back with %d\n", value);
    if (value < last) deeper(10, value + 1);
    return rounds;
}
