//! cc: gcc,clang
//! variants: O0,O2,static
//! run: | | | 0
#include <snap.h>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

/* The snapshot point lies inside a try block, inside a catch block, and inside unwinding. */
struct Unwinding {
    ~Unwinding() {
        snap_ready();
        std::printf("destructor, uncaught %d\n", std::uncaught_exceptions());
    }
};

int main() {
    std::exception_ptr stored;
    try {
        Unwinding u;
        throw std::runtime_error(std::string(100, 'x') + " in flight");
    } catch (const std::runtime_error &e) {
        std::printf("%zu\n", std::string(e.what()).size());
        stored = std::current_exception();
        try {
            throw;
        } catch (const std::exception &again) {
            std::printf("again %s\n", again.what() + 101);
        }
    }
    try {
        std::rethrow_exception(stored);
    } catch (const std::exception &e) {
        std::printf("stored %s\n", e.what() + 101);
    }
}
