//! cc: gcc,clang
//! variants: O0,O2,static
//! run: | | | 0
#include <snap.h>
#include <cstdio>
#include <string>

struct Logger {
    std::string text = "constructed on first use;";
    ~Logger() { std::printf("%s destroyed\n", text.c_str()); }
};
static thread_local Logger used_before, used_after;

int main() {
    used_before.text += " used before;";
    snap_ready();
    used_before.text += " used after;";
    used_after.text += " only used after;";
    std::puts("main ends");
}
