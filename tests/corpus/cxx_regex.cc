//! variants: O2,static
//! snap-args: x
//! run: 2024-05-17 | | | 0
//! run: nonsense | | | 1
#include <snap.h>
#include <iostream>
#include <regex>

int main(int, char **argv) {
    std::regex date(R"((\d{4})-(\d\d)-(\d\d))");
    std::smatch before;
    std::string sample = "1999-12-31";
    std::regex_match(sample, before, date);
    if (snap_ready()) argv = snap_argv();
    std::string text = argv[1];
    std::smatch m;
    std::cout << before[1] << '\n';
    if (!std::regex_match(text, m, date)) return 1;
    std::cout << m[3] << '.' << m[2] << '.' << m[1] << ' ' << std::regex_replace(text, date, "$2/$1") << '\n';
}
