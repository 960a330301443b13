/* Random values of the kernel and of the loader, drawn before the snapshot and after. */
#define _GNU_SOURCE
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void seed(void *arg) {
    struct timespec now;
    (void)arg;
    clock_gettime(CLOCK_REALTIME, &now);
    srand((unsigned)(now.tv_nsec ^ now.tv_sec ^ (getpid() << 16)));
    srandom((unsigned)snap_generation());
}

static void draw(const char *name, unsigned long a, unsigned long b) {
    printf("%s %016lx%016lx\n", name, a, b);
}

static unsigned long canary(void) {
    unsigned long value;
    __asm__("mov %%fs:0x28, %0" : "=r"(value));
    return value;
}

#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 36)
#define HAS_ARC4RANDOM
#endif
#endif

int main(void) {
    unsigned long kernel[2], words[2], random[2];
    seed(NULL);
    snap_on_restore(seed, NULL);
    for (int i = 0; i < 3; i++) {
        syscall(SYS_getrandom, kernel, sizeof kernel, 0);
        if (getentropy(words, sizeof words)) return 2;
        rand();
#ifdef HAS_ARC4RANDOM
        arc4random();
#endif
    }
    snap_ready();
    syscall(SYS_getrandom, kernel, sizeof kernel, 0);
    if (getentropy(words, sizeof words)) return 2;
    draw("getrandom", kernel[0], kernel[1]);
    draw("getentropy", words[0], words[1]);
    memcpy(random, (void *)getauxval(AT_RANDOM), sizeof random);
    draw("at_random", random[0], random[1]);
    draw("canary", canary(), 0);
    draw("generation", (unsigned long)snap_generation(), 0);
    draw("hook", (unsigned long)rand(), ((unsigned long)rand() << 32) | (unsigned long)rand());
    draw("pid", (unsigned long)getpid(), 0);
#ifdef HAS_ARC4RANDOM
    draw("arc4random", ((unsigned long)arc4random() << 32) | arc4random(), ((unsigned long)arc4random() << 32) | arc4random());
#endif
    return 0;
}
