//! at: ready
//! cc: gcc,clang
//! variants: O2,static
//! files: written
//! init-output: written to a buffer before the point\n
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

static FILE *input;

static void *reads(void *unused) {
    char line[20];
    (void)unused;
    return fgets(line, sizeof line, input) ? (void *)1L : NULL;
}

/* A thread waits for input, and holds the lock of its stream, when another one marks the point. snap_ready() still
 * flushes the output of other streams, once. */
int main(void) {
    int ends[2];
    pthread_t reader;
    void *got;
    FILE *output = fopen("written", "w");
    if (pipe(ends) || !output) return 1;
    fputs("before the point\n", output);
    puts("written to a buffer before the point");
    input = fdopen(ends[0], "r");
    pthread_create(&reader, NULL, reads, NULL);
    usleep(20000);
    alarm(20);
    snap_ready();
    if (write(ends[1], "a\n", 2) != 2) return 1;
    pthread_join(reader, &got);
    fputs("after it\n", output);
    fclose(output);
    printf("got %ld\n", (long)got);
    return 0;
}
