//! at: main,ready
//! cc: gcc,clang
//! variants: O0,O2,lto,static,nopie
//! run: | | | 0
#include <snap.h>
#include <cstdio>
#include <string>
#include <vector>

struct Tracer {
    std::string name;
    explicit Tracer(std::string n) : name(std::move(n) + " with a name too long for the small buffer") {}
    ~Tracer() { std::printf("destroyed: %s\n", name.c_str()); }
};
static Tracer first("first");
static std::vector<Tracer *> all{&first};
static Tracer second("second");

int main() {
    static Tracer local("local");
    all.push_back(&second);
    all.push_back(&local);
    snap_ready();
    static Tracer late("late");
    all.push_back(&late);
    for (auto *t : all) std::printf("alive: %s\n", t->name.c_str());
}
