//! at: main,ready
//! cc: gcc,clang
//! flags: -ffunction-sections -fdata-sections -Wl,--gc-sections -Wl,--build-id=none
//! variants: O2,static,musl-static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* Sections of the program's own, found through the linker's __start and __stop symbols. */
#define REGISTER(n) static const int entry_##n __attribute__((used, section("registry"))) = n
REGISTER(3);
REGISTER(5);
REGISTER(7);
extern const int __start_registry[], __stop_registry[];
static int writable __attribute__((section("my_data"), used)) = 11;
extern int missing(void) __attribute__((weak));

int main(void) {
    writable++;
    snap_ready();
    int sum = 0;
    for (const int *p = __start_registry; p < __stop_registry; p++) sum += *p;
    printf("%d %d %d\n", sum, writable, missing == NULL);
    return 0;
}
