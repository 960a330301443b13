/* A thread that can leave its restartable sequence only by an abort. A snapshot taken inside it must lead to the abort
 * handler, in the instance and in the program that goes on. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include "check.h"

/* The kernel's struct rseq; glibc (2.35 and later) has registered one per thread. */
struct area { uint32_t cpu_start, cpu; uint64_t section; };
struct section { uint32_t version, flags; uint64_t start, length, abort; } __attribute__((aligned(32)));

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));
static volatile int stop;
static volatile long turns, aborts;

static void *spins(void *unused) {
    struct area *area = (struct area *)((char *)__builtin_thread_pointer() + __rseq_offset);
    while (!stop) {
        turns++;
        __asm__ goto(
            ".pushsection .data, \"aw\"\n"
            ".balign 32\n"
            "3: .long 0, 0\n"
            ".quad 1f, 2f - 1f, 4f\n"
            ".popsection\n"
            "lea 3b(%%rip), %%rax\n"
            "mov %%rax, 8(%0)\n"
            "1: pause\n"
            "jmp 1b\n"
            "2:\n"
            /* The signature that glibc registers, then the handler. */
            ".byte 0x0f, 0xb9, 0x3d\n"
            ".long 0x53053053\n"
            "4: jmp %l[aborted]\n"
            : : "r"(area) : "rax", "memory" : aborted);
        __builtin_unreachable();
    aborted:
        aborts++;
    }
    return unused;
}

int main(void) {
    pthread_t thread;
    if (&__rseq_offset == NULL || __rseq_size == 0) {
        snap_ready();
        puts("ok");
        return 0;
    }
    CHECK(pthread_create(&thread, NULL, spins, NULL) == 0);
    while (turns == 0) usleep(1000);

    snap_ready();

    stop = 1;
    /* If the thread is still in its sequence, no signal may lead it out, so the program joins it without one. */
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(aborts > 0);
    puts("ok");
    return 0;
}
