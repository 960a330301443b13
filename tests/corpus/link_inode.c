//! libs: -ldl
//! at: main,ready
//! variants: O2
//! before: rm -rf *.so *.so.*; for n in 1 2; do echo "int who(void) { return $n; }" | gcc -shared -fPIC -xc - -o lib$n.new; done; cp lib1.new lib1.so; ln -s lib1.so lib1.so.0
//! between: rm -rf *.so *.so.*; cp lib1.new lib1.so; ln -s lib1.so lib1.so.0
//! run: | | | 0
#include <dlfcn.h>
#include <limits.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int who(void *library) {
    int (*function)(void) = (int (*)(void))dlsym(library, "who");
    return function ? function() : -1;
}

/* glibc knows a library by names, then by device and inode: an alias is the same library, another file is not, although
 * its inode may have the number of a library that is gone. */
int main(void) {
    char path[PATH_MAX], alias[PATH_MAX + 16];
    if (!realpath("lib1.so", path)) return 1;
    snprintf(alias, sizeof alias, "%s.0", path);
    void *first = dlopen("./lib1.so", RTLD_NOW);
    if (!first) return fprintf(stderr, "%s\n", dlerror());
    snap_ready();
    printf("alias %s, path %s\n", dlopen(alias, RTLD_NOW) == first ? "same" : "other",
           dlopen(path, RTLD_NOW) == first ? "same" : "other");
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    void *real = dlopen("/usr/lib/x86_64-linux-gnu/libc.so.6", RTLD_NOW);
    printf("libc %s\n", libc && libc == real ? "same" : "other");
    struct stat gone, made;
    stat("lib1.so", &gone);
    unlink("lib1.so");
    for (int tries = 0; tries < 200; tries++) {
        char command[80];
        snprintf(command, sizeof command, "cp lib2.new keep%d.so", tries);
        if (system(command)) return 2;
        snprintf(command, sizeof command, "keep%d.so", tries);
        stat(command, &made);
        if (made.st_ino != gone.st_ino && tries < 199) continue;
        rename(command, "lib2.so");
        break;
    }
    void *second = dlopen("./lib2.so", RTLD_NOW);
    if (!second) return fprintf(stderr, "%s\n", dlerror());
    printf("%s: %d %d\n", second == first ? "same" : "other", who(first), who(second));
    return 0;
}
