//! variants: O2
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* A secret is there in an ordinary run, and zero in an instance. */
static char key[64];

int main(void) {
    strcpy(key, "not to be stored anywhere");
    snap_secret(key, sizeof key);
    int restored = snap_ready();
    printf("as it should be: %d\n", restored ? key[0] == 0 && key[24] == 0 : key[0] == 'n');
    return 0;
}
