//! variants: O2,static,musl-static
//! refused: working directory | has been deleted | chdir
//! run: | | | 0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <snap.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The working directory has been deleted: it has no path, and no file can be made in it, but the program can still read
 * it. */

static const char *result(int value) {
    return value >= 0 ? "good" : errno == ENOENT ? "ENOENT" : "another error";
}

int main(void) {
    if (mkdir("gone", 0700) || chdir("gone") || rmdir("../gone")) return 1;
    snap_ready();
    char path[PATH_MAX];
    struct stat about = {0};
    printf("path: %s\n", getcwd(path, sizeof path) ? "known" : result(-1));
    printf("new file: %s\n", result(open("file", O_CREAT | O_WRONLY, 0600)));
    printf("itself: %s\n", result(stat(".", &about)));
    printf("links: %d\n", (int)about.st_nlink);
    return 0;
}
