//! cc: gcc,clang
//! variants: O0,O2,lto,static,static-pie,nopie
//! snap-args: x
//! run: key17 | | | 0
//! run: absent | | | 1
#include <snap.h>
#include <cstdio>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

int main(int, char **argv) {
    std::map<std::string, int> ordered;
    std::unordered_map<std::string, std::vector<int>> hashed;
    std::deque<long> queue;
    std::set<int> set;
    std::list<std::string> list;
    auto shared = std::make_shared<std::string>("shared by two");
    std::weak_ptr<std::string> weak = shared;
    for (int i = 0; i < 2000; i++) {
        auto key = "key" + std::to_string(i);
        ordered[key] = i;
        hashed[key].assign(static_cast<size_t>(i % 7), i);
        queue.push_front(i);
        set.insert(i * 7919 % 2003);
        if (i % 100 == 0) list.push_back(key);
    }
    if (snap_ready()) argv = snap_argv();
    auto it = ordered.find(argv[1]);
    if (it == ordered.end()) {
        std::puts("absent");
        return 1;
    }
    for (int i = 0; i < 1000; i++) queue.pop_back(), set.erase(i), hashed.erase("key" + std::to_string(i + 500));
    for (int i = 0; i < 5000; i++) hashed["more" + std::to_string(i)];
    std::printf("%s %d %zu %zu %zu %zu %ld %ld %s\n", it->first.c_str(), it->second, hashed.size(), set.size(), list.size(),
                hashed[argv[1]].size(), queue.front(), queue.back(), weak.lock()->c_str());
}
