/* Prints an address of each kind of memory. */
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>
static void *other(void *arg) {
    return pause(), arg;
}
int main(void) {
    pthread_t thread;
    int local;
    pthread_create(&thread, 0, other, 0);
    void *small = malloc(100), *large = malloc(1 << 20);
    void *mapped = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    snap_ready();
    printf("exe %p\nstack %p\nheap %p\nmmap %p\nmapped %p\nlibc %p\nthread %p\nvdso %p\n", (void *)main, (void *)&local,
           small, large, mapped, (void *)puts, (void *)thread, (void *)getauxval(AT_SYSINFO_EHDR));
    return 0;
}
