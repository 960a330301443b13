//! variants: O2,static,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* A program that looks for the kernel's vDSO in its memory map, before the point and after it, and reads from what it
 * finds. */
static const char *find(void) {
    char line[512];
    const char *found = NULL;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long start;
        if (strstr(line, "[vdso]") && sscanf(line, "%lx", &start) == 1) found = (const char *)start;
    }
    if (maps) fclose(maps);
    return found;
}

int main(void) {
    const char *before = find();
    snap_ready();
    const char *after = find();
    int readable = (!before || !memcmp(before, "\177ELF", 4)) && (!after || !memcmp(after, "\177ELF", 4));
    printf("what was found is readable: %d\n", readable);
    return !readable;
}
