/* Three points, marked by two objects; the library whose hook the first list had is gone by the second. */
#include <snap.h>
#include <dlfcn.h>
int mark(void);
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    ((void (*)(const char *))dlsym(library, "attach"))("there");
    snap_ready();
    dlclose(library);
    mark();
    printf("ready %d\n", snap_ready());
    return 0;
}
