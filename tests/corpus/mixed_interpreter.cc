//! at: ready,syscall:read:0
//! variants: O2,static
//! run: | 2 3 + 4 * square\n | | 0
//! run: | 1 0 /\n | | 3
#include <snap.h>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

/* A small interpreter with its words defined at start; errors travel as exceptions. */
using Stack = std::vector<long>;

int main() {
    std::map<std::string, std::function<void(Stack &)>> words;
    auto binary = [&](const char *name, auto f) {
        words[name] = [f](Stack &s) {
            if (s.size() < 2) throw std::underflow_error("stack");
            long b = s.back();
            s.pop_back();
            s.back() = f(s.back(), b);
        };
    };
    binary("+", [](long a, long b) { return a + b; });
    binary("*", [](long a, long b) { return a * b; });
    binary("/", [](long a, long b) {
        if (!b) throw std::domain_error("division by zero");
        return a / b;
    });
    words["square"] = [&](Stack &s) {
        s.push_back(s.back());
        words["*"](s);
    };
    snap_ready();
    Stack stack;
    std::string word;
    try {
        while (std::cin >> word) {
            auto it = words.find(word);
            if (it != words.end()) it->second(stack);
            else stack.push_back(std::stol(word));
        }
    } catch (const std::exception &e) {
        std::cout << e.what() << std::endl;
        return 3;
    }
    std::cout << stack.back() << std::endl;
}
