//! flags: -rdynamic
//! libs: -ldl
//! at: main,ready
//! variants: O2,nopie
//! run: | | | 0
#include <dlfcn.h>
#include <snap.h>
#include <stdio.h>

int exported(int x) { return x * 3; }

int main(void) {
    snap_ready();
    int (*f)(int) = (int (*)(int))dlsym(dlopen(NULL, RTLD_NOW), "exported");
    printf("%d %d\n", f ? f(14) : -1, f == exported);
    return 0;
}
