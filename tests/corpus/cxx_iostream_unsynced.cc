//! at: ready,syscall:read:0
//! variants: O2,static
//! run: | {3000*12345 } | | 0
#include <snap.h>
#include <iostream>

int main() {
    std::ios::sync_with_stdio(false);
    std::cin.tie(nullptr);
    snap_ready();
    long sum = 0, value, count = 0;
    while (std::cin >> value) sum += value, count++;
    std::cout << count << ' ' << sum << '\n';
}
