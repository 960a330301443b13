//! at: main,ready
//! create: --once
//! exported: yes
//! files: built
//! run: key65535 nokey | | | 0
//! run: key7 | | LC_ALL=C | 0
#include <snap.h>

#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

/* A map and virtual objects of 16 MiB, built by a static constructor. The file counts how often. */
struct Shape {
    virtual ~Shape() = default;
    virtual unsigned long area() const = 0;
};
struct Square : Shape {
    unsigned long side;
    std::vector<unsigned long> filler;
    explicit Square(unsigned long side) : side(side), filler(16, side) {}
    unsigned long area() const override { return side * filler.back(); }
};

struct World {
    std::map<std::string, std::unique_ptr<Shape>> shapes;
    std::function<unsigned long(unsigned long)> twice = [this](unsigned long n) { return n * shapes.size(); };
    World() {
        std::ofstream("built", std::ios::app) << "built\n";
        for (unsigned long i = 0; i < 65536; i++) shapes["key" + std::to_string(i)] = std::make_unique<Square>(i);
    }
};
static World world;
static thread_local std::string greeting = "thread local";

int main(int argc, char **argv) {
    greeting += ", before the point";
    if (snap_ready()) argc = static_cast<int>(snap_argc()), argv = snap_argv();
    for (int i = 1; i < argc; i++) {
        try {
            std::cout << argv[i] << ' ' << world.twice(world.shapes.at(argv[i])->area()) << '\n';
        } catch (const std::out_of_range &) {
            std::cout << argv[i] << " is not there\n";
        }
    }
    unsigned long sum = 0;
    for (const auto &[name, shape] : world.shapes) sum = sum * 31 + shape->area() + name.size();
    std::cout << sum << ' ' << greeting << std::endl;
    world.shapes.clear();
}
