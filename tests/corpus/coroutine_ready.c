//! variants: O2,static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

/* The snapshot point is reached on a coroutine's small heap stack. */
static ucontext_t scheduler, task;
static char *stack;

static void body(void) {
    char local[64];
    strcpy(local, "kept on the coroutine's stack");
    snap_ready();
    printf("%s\n", local);
}

int main(void) {
    char local[64];
    strcpy(local, "kept on the main stack");
    stack = malloc(8192 + 4096);
    memset(stack, 0x11, 2048);
    getcontext(&task);
    task.uc_stack.ss_sp = stack + 2048;
    task.uc_stack.ss_size = 8192 + 2048;
    task.uc_link = &scheduler;
    makecontext(&task, body, 0);
    swapcontext(&scheduler, &task);
    int clean = 1;
    for (int i = 0; i < 2048; i++) clean &= stack[i] == 0x11;
    printf("%s, nothing below was written: %d\n", local, clean);
    return 0;
}
