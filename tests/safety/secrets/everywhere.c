/* Copies the value of MY_TOKEN, or the first line of standard input, to all kinds of places. */
#define _GNU_SOURCE
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static char global[256];
static __thread char local[256];
static char *heap, *odd, *mapped, *shared, *big;
static FILE *stream;
static int ends[2], pair[2], hidden;

static void *other(void *arg) {
    char stack[300];
    snprintf(stack, sizeof stack, "in a thread: %s", (char *)arg);
    strcpy(local, arg);
    for (;;) pause();
    return stack;
}

static int count(const char *what, const char *where) {
    return strstr(where, what) != NULL;
}

int main(int argc, char **argv) {
    char declared[256] = "", stack[300], *value = argc > 1 ? argv[1] : getenv("MY_TOKEN");
    pthread_t thread;
    (void)argc;
    if (!value) {
        if (!fgets(declared, sizeof declared, stdin)) return 3;
        declared[strcspn(declared, "\n")] = 0;
        value = declared;
        snap_secret(declared, sizeof declared);
    }
    size_t n = strlen(value);
    strcpy(global, value);
    strcpy(local, value);
    snprintf(stack, sizeof stack, "Authorization: Bearer %s\r\n", value);
    heap = strdup(value);
    odd = malloc(2 * n + 9);
    sprintf(odd, "<%s|%s>", value, value);
    for (int i = 0; i < 20; i++) {
        char *copies[20];
        for (int j = 0; j < 20; j++) copies[j] = strdup(value);
        for (int j = 0; j < 20; j++) free(copies[j]);
    }
    mapped = mmap(0, 3 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(mapped + (2 << 20) - n / 2, value); /* across pages, and pieces of a search */
    strcpy(mapped + 4096 - n / 2, value);
    shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    strcpy(shared + 7, value);
    big = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(big, value);
    mprotect(big, 4096, PROT_READ);
    stream = tmpfile(); /* deleted: its content travels */
    fprintf(stream, "%s\n%s\n", value, value);
    rewind(stream);
    fscanf(stream, "%*c"); /* and its buffer is full */
    hidden = memfd_create("hidden", 0);
    if (pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return 2;
    if (write(hidden, value, n) < 0 || write(ends[1], value, n) < 0 || write(pair[0], value, n) < 0) return 2;
    pthread_create(&thread, 0, other, heap);
    while (!local[0]) usleep(1000);
    usleep(20000);
    __asm__ volatile("movups (%0), %%xmm7\n\tmovq (%0), %%r14" ::"r"(value) : "xmm7", "r14");
    if (!snap_ready()) return 0;
    char in_pipe[300] = "", in_pair[300] = "", wanted[300];
    if (read(ends[0], in_pipe, sizeof in_pipe - 1) != (ssize_t)n || read(pair[1], in_pair, sizeof in_pair - 1) != (ssize_t)n) return 4;
    /* The value is not in the file, but the instance may have its own in its environment. */
    char *own = getenv("MY_TOKEN");
    printf("own=%s declared=%d heap=%d odd=%c%c%c mapped=%d pipe=%d\n", own ? own : "none", declared[0], heap[0], odd[0],
           odd[n + 1], odd[2 * n + 2], mapped[(2 << 20) - n / 2], in_pipe[0]);
    return 10 + count("Bearer", stack);
}
