//! at: ready
//! variants: O2
//! refused: is held by thread | in memory that is shared with a file | release it before the snapshot point
//! before: rm -f mutex
#include <fcntl.h>
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A robust mutex in a file belongs to all who have the file mapped: several instances cannot hold it. */
int main(void) {
    int file = open("mutex", O_CREAT | O_RDWR, 0600), status;
    if (ftruncate(file, 4096)) return 1;
    pthread_mutex_t *mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutex_lock(mutex);
    snap_ready();
    pid_t other = fork();
    if (other == 0) _exit(pthread_mutex_trylock(mutex) == 0);
    waitpid(other, &status, 0);
    printf("other process: %d, unlock: %d\n", WEXITSTATUS(status), pthread_mutex_unlock(mutex));
    return 0;
}
