/* worker SNAPSHOT: a fresh prepared instance for each of three requests, with C. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <snapfn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static const char *requests[] = {"a fresh snapshot\n", "fresh\n", "\n"};
    char error[512] = "";
    struct snapfn *snapshot = argc == 2 ? snapfn_open(argv[1], error, sizeof error) : NULL;
    if (!snapshot) return fprintf(stderr, "worker: %s\n", error), 1;
    struct snapfn_pool *pool = snapfn_pool_open(snapshot, 2, error, sizeof error);
    if (!pool) return fprintf(stderr, "worker: %s\n", error), 1;
    for (int i = 0; i < 3; i++) {
        int request[2], status;
        /* Without close-on-exec, an ordinary child that another thread starts meanwhile would keep the pipe open. */
        if (pipe2(request, O_CLOEXEC) || write(request[1], requests[i], strlen(requests[i])) < 0) return 1;
        close(request[1]);
        struct snapfn_start start = {.use_fds = 1, .fds = {request[0], 1, 2}};
        struct snapfn_child *child = snapfn_pool_spawn(pool, &start, error, sizeof error);
        close(request[0]);
        if (!child || snapfn_wait(child, &status, error, sizeof error))
            return fprintf(stderr, "worker: %s\n", error), 1;
        if (!WIFEXITED(status) || WEXITSTATUS(status)) return 1;
    }
    snapfn_pool_close(pool);
    snapfn_close(snapshot);
    return 0;
}
