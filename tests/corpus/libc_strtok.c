//! variants: O2,musl-static
//! run: | | | 0
#include <glob.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* State that libc hides between calls. */
int main(void) {
    char text[] = "one two three four";
    strtok(text, " ");
    char *save, other[] = "a:b:c";
    strtok_r(other, ":", &save);
    mblen(NULL, 0);
    snap_ready();
    printf("%s ", strtok(NULL, " "));
    printf("%s ", strtok_r(NULL, ":", &save));
    printf("%s\n", strtok(NULL, " "));
    glob_t g;
    int found = glob("/etc/pass*d", 0, NULL, &g);
    printf("%d %s\n", found, g.gl_pathv[0]);
    globfree(&g);
    return 0;
}
