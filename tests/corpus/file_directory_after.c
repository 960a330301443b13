//! at: ready
//! input: a 1
//! input: b 2
//! run: | | | 0
#include <dirent.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    snap_ready();
    struct dirent **names;
    int n = scandir(".", &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        printf("%s\n", names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return n < 0;
}
