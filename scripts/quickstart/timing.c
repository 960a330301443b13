/* timing RUNS CASE...: starts programs and measures them. A case is an argument list of its own:
 *
 *     LABEL INPUT PROGRAM ARGS… :: PROGRAM ARGS… ::
 *
 * The two programs (an ordinary start, a start from a snapshot) run alternately, RUNS times each, with INPUT as
 * standard input and the same environment. Both must exit with status 0 and write the same bytes, else nothing is
 * reported and the status is 1. Prints a line per case, medians in microseconds, separated by tabs:
 *
 *     LABEL  first output of the one, of the other  exit of the one, of the other
 *
 * Time runs from just before posix_spawn (which does not copy this process) to the first byte that arrives, and to
 * the moment at which the process has been reaped.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

struct run {
    double first, end;
    int status;
    uint64_t size, sum;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct run start(const char *input, char **argv) {
    struct run run = {.sum = 14695981039346656037u};
    int out[2];
    if (pipe2(out, O_CLOEXEC)) fail("pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    pid_t pid;
    double begin = now();
    int error = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    if (error) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(error));
        exit(1);
    }
    close(out[1]);
    char buffer[65536];
    ssize_t got;
    while ((got = read(out[0], buffer, sizeof buffer)) > 0) {
        if (!run.size) run.first = now() - begin;
        run.size += (uint64_t)got;
        for (ssize_t i = 0; i < got; i++) run.sum = (run.sum ^ (unsigned char)buffer[i]) * 1099511628211u;
    }
    if (waitpid(pid, &run.status, 0) != pid) fail("waitpid");
    run.end = now() - begin;
    if (!run.size) run.first = run.end;
    close(out[0]);
    posix_spawn_file_actions_destroy(&actions);
    return run;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* The arguments up to "::", which becomes their end. */
static char **list(char ***at) {
    char **first = *at, **word = first;
    while (*word && strcmp(*word, "::")) word++;
    if (!*word || word == first) {
        fputs("usage: timing RUNS LABEL INPUT PROGRAM ARGS… :: PROGRAM ARGS… :: …\n", stderr);
        exit(2);
    }
    *word = NULL;
    *at = word + 1;
    return first;
}

static void report(int runs, const char *label, const char *input, char **programs[2]) {
    double *values[4];
    for (int i = 0; i < 4; i++)
        if (!(values[i] = calloc((size_t)runs, sizeof(double)))) fail("calloc");
    struct run reference = start(input, programs[0]);
    /* One round more than is counted: files come into memory. */
    for (int i = -1; i < runs; i++) {
        for (int which = 0; which < 2; which++) {
            struct run run = start(input, programs[which]);
            if (run.status || run.size != reference.size || run.sum != reference.sum) {
                fprintf(stderr, "%s: %s: status %d, %llu bytes; expected status 0 and the %llu bytes of %s\n", label,
                        programs[which][0], run.status, (unsigned long long)run.size,
                        (unsigned long long)reference.size, programs[0][0]);
                exit(1);
            }
            if (i < 0) continue;
            values[which][i] = run.first;
            values[2 + which][i] = run.end;
        }
    }
    printf("%s", label);
    for (int i = 0; i < 4; i++) {
        printf("\t%.1f", median(values[i], runs));
        free(values[i]);
    }
    putchar('\n');
    fflush(stdout);
}

int main(int argc, char **argv) {
    int runs = argc > 1 ? atoi(argv[1]) : 0;
    if (runs < 1) {
        fputs("timing: how many runs?\n", stderr);
        return 2;
    }
    char **at = argv + 2;
    while (*at) {
        const char *label = *at++, *input = *at ? *at++ : "/dev/null";
        char **programs[2];
        programs[0] = list(&at);
        programs[1] = list(&at);
        report(runs, label, input, programs);
    }
    return 0;
}
