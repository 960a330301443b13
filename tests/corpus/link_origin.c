//! at: main,ready
//! cc: gcc,clang
//! aux: libplug.so plug.c -DNAME=plug
//! libs: {dir}/libplug.so -Wl,-rpath,$ORIGIN
//! variants: O0,O2,nopie
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* A library found through $ORIGIN, with constructor, destructor and thread-local data. */
extern int plug_call(int);
extern int plug_constructed;

int main(void) {
    snap_ready();
    printf("constructed %d\n", plug_constructed);
    printf("%d %d\n", plug_call(1), plug_call(2));
    return 0;
}
