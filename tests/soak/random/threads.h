/* Threads that wait in a system call, and mutexes that are held. */
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>

struct waiter {
    pthread_t thread;
    int how, ends[2], signal;
    volatile int tid;
    long own;
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    int is_woken;
    sem_t semaphore;
};

enum { IN_CONDITION, IN_READ, IN_POLL, IN_SEMAPHORE, IN_SLEEP, WAYS };

static __thread long local;

static void *wait_somehow(void *argument) {
    struct waiter *waiter = argument;
    char byte = 0;
    local = waiter->own;
    waiter->tid = (int)syscall(SYS_gettid);
    switch (waiter->how) {
    case IN_CONDITION:
        pthread_mutex_lock(&waiter->mutex);
        while (!waiter->is_woken) pthread_cond_wait(&waiter->condition, &waiter->mutex);
        pthread_mutex_unlock(&waiter->mutex);
        break;
    case IN_READ: if (read(waiter->ends[0], &byte, 1) != 1) return (void *)-1L; break;
    case IN_POLL: {
        struct pollfd ready = {waiter->ends[0], POLLIN, 0};
        poll(&ready, 1, -1);
        break;
    }
    case IN_SEMAPHORE: while (sem_wait(&waiter->semaphore)) {} break;
    case IN_SLEEP: sleep(100000); break;
    }
    return (void *)(local + byte);
}

static int make_waiting_thread(struct step *step) {
    struct waiter *waiter = calloc(1, sizeof *waiter);
    char name[16];
    waiter->how = (int)below(WAYS);
    waiter->own = below(100000);
    step->at = waiter;
    pthread_mutex_init(&waiter->mutex, NULL);
    pthread_cond_init(&waiter->condition, NULL);
    sem_init(&waiter->semaphore, 0, 0);
    if (pipe2(waiter->ends, O_CLOEXEC) || pthread_create(&waiter->thread, NULL, wait_somehow, waiter)) return 0;
    snprintf(name, sizeof name, "waiter %u", below(1000));
    pthread_setname_np(waiter->thread, name);
    /* Waits until the thread sleeps in its call. */
    for (int i = 0; i < 2000; i++) {
        char path[64], line[300] = "";
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", waiter->tid);
        FILE *stat = waiter->tid ? fopen(path, "re") : NULL;
        char *after = stat && fgets(line, sizeof line, stat) ? strrchr(line, ')') : NULL;
        if (stat) fclose(stat);
        if (after && after[2] == 'S') return 1;
        usleep(1000);
    }
    return 1;
}

static void look_waiting_thread(struct step *step) {
    struct waiter *waiter = step->at;
    char name[16] = "";
    pthread_getname_np(waiter->thread, name, sizeof name);
    note("%s, way %d", name, waiter->how);
}

static void use_waiting_thread(struct step *step) {
    struct waiter *waiter = step->at;
    void *result = NULL;
    switch (waiter->how) {
    case IN_CONDITION:
        pthread_mutex_lock(&waiter->mutex);
        waiter->is_woken = 1;
        pthread_cond_signal(&waiter->condition);
        pthread_mutex_unlock(&waiter->mutex);
        break;
    case IN_READ:
    case IN_POLL: printf(" %ld", (long)write(waiter->ends[1], "\3", 1)); break;
    case IN_SEMAPHORE: sem_post(&waiter->semaphore); break;
    case IN_SLEEP: printf(" cancelled %d", pthread_cancel(waiter->thread)); break;
    }
    int joined = pthread_join(waiter->thread, &result);
    printf(" joined %d %ld", joined, result == PTHREAD_CANCELED ? -1L : (long)result - waiter->own);
}

static const struct kind waiting_thread = {"waiting thread", 0, 0, make_waiting_thread, look_waiting_thread, use_waiting_thread};

static int make_held_mutex(struct step *step) {
    static const int types[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK};
    pthread_mutexattr_t attributes;
    pthread_mutex_t *mutex = step->at = calloc(1, sizeof *mutex);
    step->a = PICK(types);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, (int)step->a);
    if (one_in(3)) pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex, &attributes);
    step->b = step->a == PTHREAD_MUTEX_RECURSIVE ? 1 + below(4) : 1;
    for (long i = 0; i < step->b; i++) pthread_mutex_lock(mutex);
    return 1;
}

static void use_held_mutex(struct step *step) {
    pthread_mutex_t *mutex = step->at;
    printf(" again %s", name_of(step->a == PTHREAD_MUTEX_NORMAL ? pthread_mutex_trylock(mutex) : pthread_mutex_lock(mutex)));
    if (step->a == PTHREAD_MUTEX_RECURSIVE) step->b++;
    for (long i = 0; i < step->b; i++) printf(" %s", name_of(pthread_mutex_unlock(mutex)));
    printf(" free %s", name_of(pthread_mutex_trylock(mutex)));
    pthread_mutex_unlock(mutex);
}

static const struct kind held_mutex = {"held mutex", 0, 0, make_held_mutex, NULL, use_held_mutex};
