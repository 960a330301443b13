//! variants: O2
//! flags: -std=c++20
//! run: 5 | | | 0
//! snap-args: 1
#include <snap.h>
#include <any>
#include <coroutine>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <variant>
#include <vector>

/* Closures and a suspended C++ coroutine. */
struct Generator {
    struct promise_type {
        int value = 0;
        Generator get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_always yield_value(int v) {
            value = v;
            return {};
        }
        void return_void() {}
        void unhandled_exception() { std::abort(); }
    };
    std::coroutine_handle<promise_type> handle;
    int next() {
        handle.resume();
        return handle.promise().value;
    }
};
static Generator squares() {
    for (int i = 1;; i++) co_yield i *i;
}

int main(int, char **argv) {
    Generator g = squares();
    int first = g.next(), second = g.next();
    std::vector<std::function<int(int)>> steps;
    for (int i = 0; i < 3; i++) steps.push_back([i, first](int x) { return x * 10 + i + first; });
    std::variant<int, std::any> v = std::any(std::optional<int>(second));
    if (snap_ready()) argv = snap_argv();
    int x = std::atoi(argv[1]);
    for (auto &step : steps) x = step(x);
    std::printf("%d %d %d %d\n", x, g.next(), g.next(), *std::any_cast<std::optional<int>>(std::get<1>(v)));
    g.handle.destroy();
}
