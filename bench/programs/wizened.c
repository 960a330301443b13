/* For WebAssembly: what Wizer runs before it takes its snapshot, and the request that every start serves. */
#include "heap.h"

__attribute__((export_name("wizer-initialize"))) void wizer_initialize(void) {
    if (!initialise(MIB)) __builtin_trap();
}

int main(void) {
    request();
    return 0;
}
