/* Three hooks, and the values that each can read. */
#include <snap.h>
#include <stdio.h>
static void hook(void *arg) {
    printf("hook %s %d\n", (char *)arg, snap_generation() != 0 && snap_argc() == 2);
}
int main(void) {
    const char *names[] = {"first", "second", "third"};
    for (int i = 0; i < 3; i++) snap_on_restore(hook, (void *)names[i]);
    int restored = snap_ready();
    printf("ready %d\n", restored);
    return 0;
}
