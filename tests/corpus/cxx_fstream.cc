//! variants: O2
//! input: in.txt one\ntwo\nthree\n
//! files: out.txt
//! run: | | | 0
#include <snap.h>
#include <fstream>
#include <iostream>
#include <string>

int main() {
    std::ifstream in("in.txt");
    std::ofstream out("out.txt");
    std::string line;
    std::getline(in, line);
    out << "before " << line << std::endl;
    snap_ready();
    while (std::getline(in, line)) out << "after " << line << '\n';
    std::cout << in.eof() << ' ' << out.tellp() << '\n';
}
