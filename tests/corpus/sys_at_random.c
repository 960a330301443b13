//! variants: O2,static,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

/* Each instance has random bytes of its own. */
int main(void) {
    unsigned char inverted[16];
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    for (int i = 0; i < 16; i++) inverted[i] = (unsigned char)~random[i];
    int restored = snap_ready();
    int same = 0;
    for (int i = 0; i < 16; i++) same += (unsigned char)~inverted[i] == random[i];
    printf("as it should be: %d\n", restored ? same < 8 : same == 16);
    return 0;
}
