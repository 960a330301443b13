//! flags: -pthread -D_GNU_SOURCE
//! variants: O2,static,musl-static
//! run: | | | 0
#include <errno.h>
#include <pthread.h>
#include <snap.h>
#include <stdio.h>

/* Locks that are held across the snapshot are still held by this thread, although its TID is another. */
int main(void) {
    pthread_mutex_t checked, recursive;
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&checked, &attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&recursive, &attr);
    pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
    pthread_rwlock_rdlock(&rw);
    pthread_mutex_lock(&checked);
    pthread_mutex_lock(&recursive);
    snap_ready();
    printf("held by us: %d\n", pthread_mutex_trylock(&checked) == EBUSY);
    int first = pthread_mutex_unlock(&checked), second = pthread_mutex_unlock(&checked);
    printf("unlock %d, once more is refused %d\n", first, second == EPERM);
    printf("recursive %d\n", pthread_mutex_trylock(&recursive));
    first = pthread_mutex_unlock(&recursive), second = pthread_mutex_unlock(&recursive);
    printf("unlock %d %d, free %d\n", first, second, pthread_mutex_trylock(&recursive));
    printf("readers %d, writer %d\n", pthread_rwlock_tryrdlock(&rw), pthread_rwlock_trywrlock(&rw) == EBUSY);
    return 0;
}
