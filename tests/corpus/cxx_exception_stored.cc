//! variants: O2,static
//! run: | | | 0
#include <snap.h>
#include <cstdio>
#include <exception>
#include <stdexcept>

int main() {
    std::exception_ptr stored;
    try {
        try {
            throw std::invalid_argument("inner");
        } catch (...) {
            std::throw_with_nested(std::runtime_error("outer"));
        }
    } catch (...) {
        stored = std::current_exception();
        snap_ready();
    }
    try {
        std::rethrow_exception(stored);
    } catch (const std::exception &e) {
        std::printf("%s\n", e.what());
        try {
            std::rethrow_if_nested(e);
        } catch (const std::exception &inner) {
            std::printf("%s\n", inner.what());
        }
    }
}
