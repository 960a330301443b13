/* A hook that registers itself again. */
#include <snap.h>
static int calls;
static void hook(void *arg) {
    if (++calls > 9) abort();
    snap_on_restore(hook, arg);
}
int main(void) {
    snap_on_restore(hook, NULL);
    snap_ready();
    snap_ready();
    printf("%d\n", calls);
    return 0;
}
