//! at: main,ready
//! variants: O2,static,musl-dynamic
//! snap-args: old
//! run: new args here | | X=1 Y=2 | 0
//! run: '' | | | 0
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Interpreters read /proc/self/cmdline and environ: both are the instance's. */
static void show(const char *path, int skip_first) {
    static char buffer[65536];
    int fd = open(path, O_RDONLY);
    long n = read(fd, buffer, sizeof buffer);
    close(fd);
    for (char *p = buffer; p < buffer + n; p += strlen(p) + 1) {
        if (!skip_first) printf("[%s]\n", p);
        skip_first = 0;
    }
}

int main(void) {
    snap_ready();
    show("/proc/self/cmdline", 1);
    show("/proc/self/environ", 0);
    return 0;
}
