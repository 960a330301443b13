/* The program prints the places of functions that libc chooses by the CPU, relative to the beginning of libc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
    const char *names[] = {"memcpy", "strlen", "memchr", "strcmp"};
    for (int i = 0; i < 4; i++) {
        void *at = dlsym(RTLD_DEFAULT, names[i]);
        Dl_info info;
        if (!dladdr(at, &info)) return 1;
        printf("%s %lx\n", info.dli_fname, (long)at - (long)info.dli_fbase);
    }
    return 0;
}
