/* An idle instance: says that it is there and waits for ever. */
#include <snap.h>
#include <unistd.h>

int main(void) {
    snap_ready();
    if (write(1, "\n", 1) != 1) return 1;
    for (;;) pause();
}
