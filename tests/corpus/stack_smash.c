//! flags: -fstack-protector-all -O0
//! variants: O0,static
//! snap-args: 1
//! run: 8 | | | 0
//! run: 200 | | | SIGABRT
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Protection goes on working after the canary changed. */
__attribute__((noinline)) static void fill(long n) {
    char buffer[16];
    memset(buffer, 'x', (size_t)n);
    __asm__ volatile("" : : "r"(buffer) : "memory");
}

int main(int argc, char **argv) {
    (void)argc;
    if (snap_ready()) argv = snap_argv();
    puts("filling");
    fflush(stdout);
    fill(atol(argv[1]));
    puts("done");
    return 0;
}
