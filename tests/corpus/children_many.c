//! at: ready
//! variants: O2
//! snap-args: x
//! run: | | | 0
#include <pthread.h>
#include <snap.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Two threads make children at once. The kernel may report a child's first stop before the event of its parent. */
enum { CHILDREN = 300 };

static void *make(void *sum) {
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = i % 2 ? fork() : vfork();
        if (child == 0) _exit(i % 7);
        int status = 0;
        if (waitpid(child, &status, 0) != child) return sum;
        *(int *)sum += WEXITSTATUS(status);
    }
    return sum;
}

int main(void) {
    pthread_t threads[2];
    int sums[2] = {0, 0};
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, make, &sums[i]);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    snap_ready();
    printf("%d %d\n", sums[0], sums[1]);
    return 0;
}
