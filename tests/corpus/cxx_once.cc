//! variants: O2,static
//! run: | | | 0
#include <snap.h>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <random>
#include <string>

static int made;
static const std::string &table() {
    static const std::string t = [] {
        made++;
        return std::string(1000, 't');
    }();
    return t;
}

int main() {
    std::once_flag flag;
    std::call_once(flag, [] { made += 10; });
    table();
    std::mt19937_64 engine(42);
    for (int i = 0; i < 1000; i++) engine();
    auto t0 = std::chrono::steady_clock::now();
    snap_ready();
    std::call_once(flag, [] { made += 100; });
    std::printf("%d %zu %lu %d\n", made, table().size(), static_cast<unsigned long>(engine()),
                std::chrono::steady_clock::now() >= t0);
}
