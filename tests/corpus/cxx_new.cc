//! variants: O2,static
//! run: | | | 0
#include <snap.h>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

static int counted;
void *operator new(std::size_t n) {
    counted++;
    if (void *p = std::malloc(n ? n : 1)) return p;
    throw std::bad_alloc();
}
void operator delete(void *p) noexcept { counted--, std::free(p); }
void operator delete(void *p, std::size_t) noexcept { counted--, std::free(p); }

int main() {
    std::vector<int *> blocks;
    for (int i = 0; i < 100; i++) blocks.push_back(new int(i));
    snap_ready();
    long sum = 0;
    for (int *p : blocks) sum += *p, delete p;
    try {
        volatile std::size_t huge = std::size_t(1) << 60;
        delete[] new char[huge];
    } catch (const std::bad_alloc &e) {
        std::printf("%s\n", e.what());
    }
    std::printf("%ld, %d live\n", sum, counted);
}
