#include "heap.h"
#include <snap.h>

int main(int argc, char **argv) {
    if (!initialise(argc > 1 ? argv[1] : "1")) return 1;
    snap_ready();
    request();
    return 0;
}
