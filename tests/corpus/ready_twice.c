//! variants: O2,static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* Only the first mark is the snapshot point; later ones have no effect. */
int main(void) {
    int count = 0;
    for (int i = 0; i < 5; i++) {
        snap_ready();
        count++;
    }
    printf("%d\n", count);
    return 0;
}
