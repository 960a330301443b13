//! at: ready
//! variants: O2,static,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* During initialisation /proc/self/exe, comm and the maps are the program's own; comm stays. */
int main(void) {
    char exe[4096] = {0}, comm[64] = {0};
    readlink("/proc/self/exe", exe, sizeof exe - 1);
    snap_ready();
    FILE *f = fopen("/proc/self/comm", "r");
    fgets(comm, sizeof comm, f);
    fclose(f);
    printf("exe %s comm %s", strrchr(exe, '/'), comm);
    char line[512];
    int heap = 0, stack = 0;
    void *block = malloc(1000);
    f = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, f)) {
        unsigned long a, b;
        sscanf(line, "%lx-%lx", &a, &b);
        if ((unsigned long)block >= a && (unsigned long)block < b) heap = strstr(line, "rw-p") != NULL;
        if ((unsigned long)&line >= a && (unsigned long)&line < b) stack = strstr(line, "rw-p") != NULL;
    }
    printf("heap %d stack %d\n", heap, stack);
    return 0;
}
