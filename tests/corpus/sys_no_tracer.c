//! at: main,ready
//! variants: O2
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* No process traces an instance, and its state in /proc is that of any process. */
int main(void) {
    snap_ready();
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, "TracerPid", 9) || !strncmp(line, "Threads", 7) || !strncmp(line, "Name", 4) ||
            !strncmp(line, "Umask", 5) || !strncmp(line, "CapEff", 6) || !strncmp(line, "SigBlk", 6) ||
            !strncmp(line, "SigIgn", 6) || !strncmp(line, "SigCgt", 6) || !strncmp(line, "NoNewPrivs", 10))
            printf("%s", line);
    fclose(f);
    return 0;
}
