//! cc: gcc,clang
//! variants: O2,O3
//! snap-args: 0
//! run: 3 | | | 0
#include <snap.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

int main(int, char **argv) {
    std::vector<unsigned> v(50000);
    unsigned x = 1;
    for (auto &e : v) e = x = x * 1664525u + 1013904223u;
    std::vector<unsigned> sorted = v;
    std::sort(sorted.begin(), sorted.end());
    if (snap_ready()) argv = snap_argv();
    std::rotate(v.begin(), v.begin() + std::atoi(argv[1]), v.end());
    std::stable_sort(v.begin(), v.end());
    std::printf("%d %u %u\n", v == sorted, v.front(), std::accumulate(v.begin(), v.end(), 0u));
}
