/* Twenty protected frames are live in each of five threads; every one returns. */
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static pthread_barrier_t ready, go;
static unsigned long canaries[5];
static unsigned long canary(void) {
    unsigned long value;
    __asm__ volatile("mov %%fs:0x28, %0" : "=r"(value));
    return value;
}
__attribute__((noinline)) static int deep(int n, int who) {
    volatile char buffer[64];
    memset((char *)buffer, n, sizeof buffer);
    if (n == 0) {
        if (who == 0) {
            pthread_barrier_wait(&ready);
            usleep(50000);
            if (!snap_ready()) return 0;
            pthread_barrier_wait(&go);
        } else {
            pthread_barrier_wait(&ready);
            pthread_barrier_wait(&go);
        }
        canaries[who] = canary();
        return buffer[5];
    }
    int below = deep(n - 1, who);
    return below + buffer[63];
}
static void *run(void *arg) {
    return (void *)(long)deep(20, (int)(long)arg);
}
int main(void) {
    pthread_t threads[4];
    void *sum;
    pthread_barrier_init(&ready, 0, 5);
    pthread_barrier_init(&go, 0, 5);
    for (long i = 0; i < 4; i++) pthread_create(&threads[i], 0, run, (void *)(i + 1));
    int total = deep(20, 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], &sum), total += (int)(long)sum;
    for (int i = 1; i < 5; i++)
        if (canaries[i] != canaries[0]) return 3;
    printf("%d %016lx\n", total, canaries[0]);
    return 0;
}
