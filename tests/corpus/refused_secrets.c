//! at: ready
//! variants: O2
//! refused: snap_secret(): was called for more than 16384 ranges | keep secrets together
#include <snap.h>
#include <stdio.h>

static char memory[40000];

/* Without a bound the snapshotter would keep the content of each of them. */
int main(void) {
    int refused = 0;
    for (int i = 0; i < 20000; i++) refused += !snap_secret(memory + 2 * i, 1);
    snap_ready();
    puts(refused == 20000 || refused == 20000 - 16384 ? "as expected" : "not so");
    return 0;
}
