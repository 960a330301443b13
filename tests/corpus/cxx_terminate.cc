//! variants: O2,static
//! run: | | | SIGABRT
#include <snap.h>
#include <cstdio>
#include <stdexcept>

int main() {
    snap_ready();
    std::puts("throwing");
    std::fflush(stdout);
    throw std::runtime_error("nobody catches this");
}
