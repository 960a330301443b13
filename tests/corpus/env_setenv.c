//! cc: gcc,clang
//! variants: O2,static,musl-dynamic,musl-static
//! snap-env: SET=snapshot GONE=snapshot PUT=snapshot KEPT=snapshot
//! run: | | SET=instance GONE=instance PUT=instance KEPT=instance OTHER=instance | 0
//! run: | | | 0
//! run: | | GONE=instance | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Variables that the program set or unset since its start stay so; all others are the instance's. */
static char put[] = "PUT=program";
static const char *show(const char *name) { return getenv(name) ? getenv(name) : "(unset)"; }

int main(void) {
    setenv("SET", "program", 1);
    unsetenv("GONE");
    putenv(put);
    setenv("FRESH", "program", 1);
    snap_ready();
    printf("SET %s\nGONE %s\nPUT %s\nFRESH %s\nKEPT %s\nOTHER %s\n", show("SET"), show("GONE"), show("PUT"), show("FRESH"),
           show("KEPT"), show("OTHER"));
    strcpy(put + 4, "changed");
    printf("PUT %s\n", show("PUT"));
    return 0;
}
