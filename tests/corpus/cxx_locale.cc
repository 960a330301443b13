//! variants: O2,static
//! run: | | | 0
#include <snap.h>
#include <iomanip>
#include <iostream>
#include <locale>
#include <sstream>

/* A locale with a facet of the program's own is the global one at the snapshot. */
struct Grouped : std::numpunct<char> {
    char do_thousands_sep() const override { return '\''; }
    std::string do_grouping() const override { return "\3"; }
    std::string do_truename() const override { return "yes"; }
};

int main() {
    std::locale::global(std::locale(std::locale::classic(), new Grouped));
    std::ostringstream out;
    out << 1234567;
    snap_ready();
    out << ' ' << 7654321 << ' ' << std::boolalpha << true;
    std::cout.imbue(std::locale());
    std::cout << out.str() << ' ' << 1000000 << ' ' << std::use_facet<std::ctype<char>>(std::locale()).toupper('q') << '\n';
}
