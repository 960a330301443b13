//! variants: O2,static
//! flags: -fstack-protector-all
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

static ucontext_t scheduler, task;

/* It waits between its prologue and its epilogue, which compares the frame's canary with that of the thread. */
static void body(void) {
    char local[64];
    strcpy(local, "kept on a shared stack");
    swapcontext(&task, &scheduler);
    puts(local);
}

/* Frames of a coroutine whose stack children will share get the canary of the instance. */
int main(void) {
    size_t len = 1 << 16;
    task.uc_stack.ss_sp = mmap(0, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (task.uc_stack.ss_sp == MAP_FAILED || getcontext(&task) != 0) return 1;
    task.uc_stack.ss_size = len;
    task.uc_link = &scheduler;
    makecontext(&task, body, 0);
    swapcontext(&scheduler, &task);
    snap_ready();
    swapcontext(&scheduler, &task);
    puts("and back");
    return 0;
}
