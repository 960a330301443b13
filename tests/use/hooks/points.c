/* Two points, and generation and arguments in the program and in a library. */
#include <snap.h>
#include <stdio.h>
#include <unistd.h>
void attach(void);
void show(void);
int main(void) {
    attach();
    getppid();
    snap_ready();
    getpgrp();
    snap_ready();
    printf("own %llx\nargument-%s\n", (unsigned long long)snap_generation(), snap_argv()[1]);
    show();
    return 0;
}
