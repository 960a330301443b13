//! at: main,ready
//! variants: O2,musl-static
//! run: | | | 0
// A thread's name has 15 bytes and is cut where it is longer, within a character as well: it need not be UTF-8.
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

int main(void) {
    static const char given[] = "fourteen-bytes\xc3\xa4";
    prctl(PR_SET_NAME, given);
    snap_ready();
    char name[16];
    prctl(PR_GET_NAME, name);
    printf("%s %d\n", memcmp(name, given, 15) == 0 ? "kept" : "another", (unsigned char)name[14] >= 0x80);
    return 0;
}
