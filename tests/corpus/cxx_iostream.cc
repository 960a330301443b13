//! at: main,ready
//! cc: gcc,clang
//! variants: O0,O2,lto,static
//! snap-args: ignored
//! run: | 3 apples and 4.5 pears\nlast line\n | | 0
//! run: | | | 1
#include <snap.h>
#include <iomanip>
#include <iostream>
#include <string>

int main() {
    std::cout << std::hex << std::showbase;
    snap_ready();
    int n = 0;
    double d = 0;
    std::string a, b, c, line;
    if (!(std::cin >> n >> a >> b >> d >> c)) {
        std::cout << "no input" << std::endl;
        return 1;
    }
    std::getline(std::cin, line);
    std::getline(std::cin, line);
    std::cout << n << ' ' << a << ' ' << std::dec << n << std::setprecision(3) << ' ' << d << ' ' << c << '\n';
    std::cerr << "error stream " << std::setw(8) << std::setfill('.') << n << std::endl;
    std::clog << line << std::endl;
}
