//! variants: O2
//! refused: is held by thread | in memory that is shared with a file | release it before the snapshot point
//! before: rm -f checked
#include <fcntl.h>
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* An error-checking mutex in a shared file is held; it is not robust, so that no list of the kernel's has it. */
int main(void) {
    int file = open("checked", O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, 4096)) return 1;
    pthread_mutex_t *mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (mutex == MAP_FAILED || pthread_mutex_init(mutex, &attributes) || pthread_mutex_lock(mutex)) return 1;
    snap_ready();
    printf("unlock %d\n", pthread_mutex_unlock(mutex));
    return 0;
}
