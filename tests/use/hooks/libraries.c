/* Hooks of a library that is linked, of one that is opened by name, and of the program itself, in turns. */
#include <snap.h>
#include <dlfcn.h>
#include <stdio.h>
void attach(const char *who);
static void own(void *who) { printf("%s %d %s\n", (char *)who, snap_generation() != 0, snap_argv()[1]); }
int main(int argc, char **argv) {
    void *opened = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    void (*attach_opened)(const char *) = (void (*)(const char *))dlsym(opened, "attach");
    attach_opened("first");
    snap_on_restore(own, (void *)"second");
    attach("third");
    attach_opened("fourth");
    snap_on_restore(own, (void *)"fifth");
    printf("ready %d\n", snap_ready());
    /* Of an instance, another snapshot can be taken. */
    attach("sixth");
    printf("again %d\n", snap_ready());
    return 0;
}
