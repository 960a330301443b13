//! at: main,ready
//! aux: libplug.so plug.c -DNAME=plug
//! libs: {dir}/libplug.so -Wl,-rpath,$ORIGIN
//! variants: nopie
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* Non-PIE programs have a copy of a library's data in their own .bss. */
extern int plug_shared;
extern int plug_read_shared(void);

int main(void) {
    plug_shared += 5;
    snap_ready();
    plug_shared *= 2;
    printf("%d %d\n", plug_shared, plug_read_shared());
    return 0;
}
