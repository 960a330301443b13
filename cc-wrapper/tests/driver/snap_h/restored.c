#include <snap.h>
#include <stdarg.h>
#include <string.h>
static char *new_argv[] = {(char *)"fn", (char *)"x", NULL};
static char *new_envp[] = {(char *)"A=1", NULL};
static struct snap_info *info;
static struct snap_hook *first, **last = &first;
static int ready_calls;
int prctl(int option, ...) {
    va_list list;
    unsigned long op, a;
    va_start(list, option);
    op = va_arg(list, unsigned long);
    a = va_arg(list, unsigned long);
    va_end(list);
    if (option != SNAP_PRCTL) abort();
    if (op == SNAP_OP_INFO) {
        info = (struct snap_info *)a;
        if (info->size != sizeof *info) abort();
        return 0;
    }
    if (op == SNAP_OP_HOOK) {
        *last = (struct snap_hook *)a;
        last = &(*last)->next;
        return 0;
    }
    if (op == SNAP_OP_READY && ready_calls++ == 0) {
        if (!info) abort();
        info->restored = 1;
        info->argc = 2;
        info->argv = new_argv;
        info->envp = new_envp;
        info->generation = 5;
        info->first = first;
        return 1;
    }
    errno = EINVAL;
    return -1;
}
static void hook(void *arg) { printf("%s(%d) ", (const char *)arg, (int)snap_generation()); }
int main(void) {
    int ready;
    snap_on_restore(hook, (void *)"one");
    snap_on_restore(hook, (void *)"two");
    ready = snap_ready();
    printf("%d %d %s %s %d ", ready, (int)snap_argc(), snap_argv()[1], snap_envp()[0], (int)snap_generation());
    printf("%d\n", snap_ready());
    return 0;
}
