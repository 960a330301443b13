//! variants: O2,static
//! input: here.txt top
//! files: sub/made.txt
//! run: | | | 0
#include <limits.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    mkdir("sub", 0755);
    if (chdir("sub")) return 1;
    snap_ready();
    char path[PATH_MAX];
    printf("%s %d\n", strrchr(getcwd(path, sizeof path), '/'), access("../here.txt", R_OK));
    FILE *f = fopen("made.txt", "w");
    if (!f) {
        perror("made.txt");
        return 1;
    }
    fputs("relative\n", f);
    return fclose(f);
}
