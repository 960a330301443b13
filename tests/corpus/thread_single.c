//! flags: -pthread -D_GNU_SOURCE
//! variants: O2,static,musl-static
//! run: | | | 0
#include <errno.h>
#include <pthread.h>
#include <snap.h>
#include <stdio.h>

/* Locks of all kinds in a program of one thread, one of them held across the snapshot. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int initialised;
static void init(void) { initialised++; }
static void at_exit_of_key(void *value) { printf("never for the main thread: %s\n", (char *)value); }

int main(void) {
    pthread_mutex_t checked, recursive;
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&checked, &attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&recursive, &attr);
    pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
    pthread_key_t key;
    pthread_key_create(&key, at_exit_of_key);
    pthread_setspecific(key, "specific");
    pthread_once(&once, init);
    pthread_rwlock_rdlock(&rw);
    pthread_mutex_lock(&checked);
    pthread_mutex_lock(&recursive);
    snap_ready();
    pthread_once(&once, init);
    printf("%d %s\n", initialised, (char *)pthread_getspecific(key));
    printf("held by us: %d\n", pthread_mutex_lock(&checked) == EDEADLK);
    printf("unlock %d %d\n", pthread_mutex_unlock(&checked), pthread_mutex_unlock(&checked) == EPERM);
    printf("recursive %d\n", pthread_mutex_lock(&recursive));
    printf("unlock %d %d %d\n", pthread_mutex_unlock(&recursive), pthread_mutex_unlock(&recursive), pthread_mutex_trylock(&recursive));
    printf("readers %d, writer %d\n", pthread_rwlock_tryrdlock(&rw), pthread_rwlock_trywrlock(&rw) == EBUSY);
    return 0;
}
