//! flags: -pthread -D_GNU_SOURCE
//! variants: O2,static
//! run: | | | 0
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* As CPython's PyThreadState has them. */
struct state {
    unsigned long thread_id;
    unsigned long native_thread_id;
};

static pthread_barrier_t arrived, goes_on;

static void fill(struct state *state) {
    state->thread_id = pthread_self();
    state->native_thread_id = gettid();
}

static void show(const char *who, const struct state *state) {
    printf("%s: %s\n", who, state->native_thread_id == (unsigned long)gettid() ? "its own" : "another");
}

static void *other(void *state) {
    fill(state);
    pthread_barrier_wait(&arrived);
    pthread_barrier_wait(&goes_on);
    show("other", state);
    return NULL;
}

/* The program keeps the IDs of its threads behind their addresses. */
int main(void) {
    struct state *states = calloc(2, sizeof *states);
    pthread_t thread;
    pthread_barrier_init(&arrived, NULL, 2);
    pthread_barrier_init(&goes_on, NULL, 2);
    fill(states);
    if (pthread_create(&thread, NULL, other, states + 1)) return 1;
    pthread_barrier_wait(&arrived);
    snap_ready();
    show("first", states);
    pthread_barrier_wait(&goes_on);
    return pthread_join(thread, NULL);
}
