// std::random_device, made and used before the snapshot; a generator seeded from it in a hook.
#include <snap.h>

#include <cstdio>
#include <random>

static std::random_device device;
static std::mt19937_64 generator{1};

static void reseed(void *) {
    std::seed_seq seed{device(), device(), device(), device()};
    generator.seed(seed);
}

int main() {
    std::random_device urandom("/dev/urandom");
    for (int i = 0; i < 5; i++) device(), urandom(), generator();
    snap_on_restore(reseed, nullptr);
    snap_ready();
    std::printf("random_device %08x%08x\n", device(), device());
    std::printf("urandom %08x%08x\n", urandom(), urandom());
    std::printf("mt19937 %016llx\n", static_cast<unsigned long long>(generator()));
    std::random_device later;
    std::printf("later %08x%08x\n", later(), later());
}
