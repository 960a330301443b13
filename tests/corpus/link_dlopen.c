//! aux: libplug.so plug.c -DNAME=plug
//! aux: liblate.so plug.c -DNAME=late
//! flags: -DDIR="{dir}"
//! variants: O2,nopie
//! run: | | | 0
#include <dlfcn.h>
#include <snap.h>
#include <stdio.h>

/* One library is loaded before the snapshot, one after it; the first is closed afterwards. */
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

int main(void) {
    void *plug = dlopen(TEXT(DIR) "/libplug.so", RTLD_NOW);
    if (!plug) return fprintf(stderr, "%s\n", dlerror());
    int (*before)(int) = (int (*)(int))dlsym(plug, "plug_call");
    int one = before(1);
    snap_ready();
    printf("%d %d\n", one, before(10));
    void *late = dlopen(TEXT(DIR) "/liblate.so", RTLD_LAZY);
    if (!late) return fprintf(stderr, "%s\n", dlerror());
    int (*after)(int) = (int (*)(int))dlsym(late, "late_call");
    printf("%d %d\n", after(5), after(6));
    int (*again)(int) = (int (*)(int))dlsym(plug, "plug_call");
    printf("same %d, missing %d\n", again == before, dlsym(plug, "nothing") == NULL);
    printf("closed %d\n", dlclose(plug));
    return 0;
}
