//! at: main,ready
//! cc: gcc,clang
//! variants: O0,O2,lto,static,static-pie,nopie,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

static int order[8], count;
__attribute__((constructor(201))) static void early(void) { order[count++] = 1; }
__attribute__((constructor(301))) static void later(void) { order[count++] = 2; }
__attribute__((constructor)) static void latest(void) { order[count++] = 3; }
__attribute__((destructor)) static void out1(void) { puts("destructor"); }
__attribute__((destructor(301))) static void out2(void) { puts("destructor 301"); }
__attribute__((destructor(201))) static void out3(void) { puts("destructor 201"); }

int main(void) {
    snap_ready();
    for (int i = 0; i < count; i++) printf("constructor %d\n", order[i]);
    return 0;
}
