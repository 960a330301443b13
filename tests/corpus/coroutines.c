//! variants: O2,static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

/* Suspended coroutines on small stacks of their own are resumed in the instance. */
static ucontext_t scheduler, task[3];
static int turn[3];

static void body(int id) {
    for (int i = 0; i < 4; i++) {
        turn[id] = turn[id] * 10 + i + id;
        swapcontext(&task[id], &scheduler);
    }
}

int main(void) {
    for (int i = 0; i < 3; i++) {
        getcontext(&task[i]);
        task[i].uc_stack.ss_sp = malloc(16384);
        task[i].uc_stack.ss_size = 16384;
        task[i].uc_link = &scheduler;
        makecontext(&task[i], (void (*)(void))body, 1, i);
    }
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 3; i++) swapcontext(&scheduler, &task[i]);
    snap_ready();
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 3; i++) swapcontext(&scheduler, &task[i]);
    printf("%d %d %d\n", turn[0], turn[1], turn[2]);
    return 0;
}
