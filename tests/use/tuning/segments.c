/* Writes the protections of the mappings that hold its headers, its code and its constants. */
#include <stdio.h>

extern char __executable_start[];
static const int constants[2000] = {1, 2, 3};

int main(int argc, char **argv) {
    unsigned long wanted[3] = {(unsigned long)__executable_start, (unsigned long)main, (unsigned long)&constants[argc]};
    char line[4352], protection[5];
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long start, end;
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %4s", &start, &end, protection) != 3) continue;
        for (int i = 0; i < 3; i++)
            if (start <= wanted[i] && wanted[i] < end) printf("%s ", protection);
    }
    return puts(argv[0]) < 0;
}
