//! aux: libplug.so plug.c -DNAME=plug
//! flags: -DDIR="{dir}" -Wl,-z,lazy -Wl,--unresolved-symbols=ignore-all -rdynamic
//! libs: -ldl
//! at: main,ready
//! variants: O2
//! run: | | | 0
#include <dlfcn.h>
#include <snap.h>
#include <stdio.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

int plug_call(int);

/* Only a plugin has the function that the program calls, and it is loaded first: lazy binding makes that work. */
int main(void) {
    void *plugin = dlopen(TEXT(DIR) "/libplug.so", RTLD_NOW | RTLD_GLOBAL);
    if (!plugin) return fprintf(stderr, "%s\n", dlerror());
    snap_ready();
    printf("%d\n", plug_call(4));
    return 0;
}
