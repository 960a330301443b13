//! flags: -pthread -D_GNU_SOURCE
//! variants: O2,static,musl-static
//! run: | | | 0
#include <errno.h>
#include <pthread.h>
#include <snap.h>
#include <stdio.h>

/* A program of one thread uses functions of the thread library. */
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
    pthread_mutex_lock(&checked);
    pthread_mutex_unlock(&checked);
    pthread_key_t key;
    pthread_key_create(&key, at_exit_of_key);
    pthread_setspecific(key, "specific");
    pthread_once(&once, init);
    snap_ready();
    pthread_once(&once, init);
    printf("%d %s\n", initialised, (char *)pthread_getspecific(key));
    int first = pthread_mutex_lock(&checked), second = pthread_mutex_lock(&checked);
    printf("checked %d, once more is refused %d\n", first, second == EDEADLK);
    first = pthread_mutex_lock(&recursive), second = pthread_mutex_lock(&recursive);
    printf("recursive %d %d\n", first, second);
    return 0;
}
