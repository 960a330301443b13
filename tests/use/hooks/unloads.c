/* Unloads a library that has hooks, and loads another one in its place. */
#include <snap.h>
#include <dlfcn.h>
static void own(void *arg) { (void)arg; puts("own"); }
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    void (*attach)(const char *) = (void (*)(const char *))dlsym(library, "attach");
    attach("gone");
    snap_on_restore(own, NULL);
    attach("gone");
    dlclose(library);
    void *next = dlopen(argv[2], RTLD_NOW);
    int (*changed)(void) = (int (*)(void))dlsym(next, "changed");
    ((void (*)(void))dlsym(next, "prepare"))();
    int ready = snap_ready();
    printf("ready %d, changed %d\n", ready, changed());
    return 0;
}
