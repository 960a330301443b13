//! at: main,ready
//! cc: gcc,clang
//! variants: O0,O2,lto,static,static-pie,nopie
//! snap-args: 0
//! run: 7 | | | 7
#include <snap.h>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>

struct Guard {
    const char *name;
    ~Guard() { std::printf("unwound %s\n", name); }
};

[[gnu::noinline]] static int deep(int n, int value) {
    Guard guard{n % 2 ? "odd" : "even"};
    if (n == 0) throw value;
    return deep(n - 1, value) + 1;
}

int main(int, char **argv) {
    int before = 0;
    try {
        throw std::runtime_error("before");
    } catch (const std::exception &e) {
        before = e.what()[0];
    }
    if (snap_ready()) argv = snap_argv();
    std::printf("%c\n", before);
    try {
        deep(3, std::atoi(argv[1]));
    } catch (int value) {
        std::printf("caught %d\n", value);
        try {
            throw std::out_of_range("nested");
        } catch (const std::logic_error &e) {
            std::printf("caught %s\n", e.what());
        }
        return value;
    }
}
