//! flags: -pthread -D_GNU_SOURCE
//! variants: O2
//! same-or-noted: words equal the ID of a thread
//! run: | | | 0
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
    long unrelated;
    pid_t id;
} *kept;

static void *wait_for_ever(void *arrived) {
    kept->id = gettid();
    pthread_barrier_wait(arrived);
    for (;;) pause();
}

/* The program keeps the ID of one of its threads, of which nobody else can know. */
int main(void) {
    pthread_t thread;
    pthread_barrier_t arrived;
    kept = calloc(1, sizeof *kept);
    pthread_barrier_init(&arrived, NULL, 2);
    if (!kept || pthread_create(&thread, NULL, wait_for_ever, &arrived)) return 1;
    pthread_barrier_wait(&arrived);
    snap_ready();
    char path[60];
    snprintf(path, sizeof path, "/proc/self/task/%d", (int)kept->id);
    printf("%s\n", access(path, F_OK) ? "gone" : "there");
    return 0;
}
