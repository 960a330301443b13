//! run: | | | 0
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    umask(027);
    snap_ready();
    struct stat st;
    if (fstat(open("made", O_CREAT | O_WRONLY, 0666), &st)) return 1;
    printf("%03o %03o\n", st.st_mode & 0777, umask(0));
    return 0;
}
