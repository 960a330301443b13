//! snap-args: none
//! run: segv | | | SIGSEGV
//! run: ill | | | SIGILL
//! run: fpe | | | SIGFPE
//! run: trap | | | SIGTRAP
//! run: text | | | SIGSEGV
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* Faults of the instance are its own: snaprun leaves no handler in it. */
int main(int argc, char **argv) {
    (void)argc;
    if (snap_ready()) argv = snap_argv();
    puts(argv[1]);
    fflush(stdout);
    volatile int zero = 0;
    if (!strcmp(argv[1], "segv")) *(volatile int *)8 = 1;
    if (!strcmp(argv[1], "ill")) __asm__ volatile("ud2");
    if (!strcmp(argv[1], "fpe")) return (int)(10 / zero);
    if (!strcmp(argv[1], "trap")) __asm__ volatile("int3");
    if (!strcmp(argv[1], "text")) *(volatile char *)(unsigned long)&main = 0;
    return 1;
}
