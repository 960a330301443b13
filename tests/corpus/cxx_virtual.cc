//! at: main,ready
//! cc: gcc,clang
//! variants: O0,O2,lto,static,static-pie,nopie
//! run: | | | 0
#include <snap.h>
#include <cstdio>
#include <memory>
#include <typeinfo>
#include <vector>

struct Shape {
    virtual ~Shape() = default;
    virtual double area() const = 0;
};
struct Named {
    virtual const char *name() const { return "unnamed"; }
    virtual ~Named() = default;
};
struct Square : Shape, virtual Named {
    double side;
    explicit Square(double s) : side(s) {}
    double area() const override { return side * side; }
    const char *name() const override { return "square"; }
};
struct Circle final : Shape {
    double area() const override { return 3.0; }
};

int main() {
    std::vector<std::unique_ptr<Shape>> shapes;
    for (int i = 0; i < 6; i++) {
        if (i % 2) shapes.push_back(std::make_unique<Square>(i));
        else shapes.push_back(std::make_unique<Circle>());
    }
    double (Shape::*member)() const = &Shape::area;
    snap_ready();
    for (auto &s : shapes) {
        auto *named = dynamic_cast<Named *>(s.get());
        std::printf("%g %s %d\n", (s.get()->*member)(), named ? named->name() : "-", typeid(*s) == typeid(Circle));
    }
}
