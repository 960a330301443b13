//! variants: O2,static,musl-static
//! snap-args: at snapshot
//! snap-env: K=old
//! run: one two | | K=new | 3
//! run: | | K= | 1
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The registered block carries the instance's own vectors. */
static int hooks;
static void hook(void *arg) { hooks += *(int *)arg; }

int main(int argc, char **argv) {
    static int step = 5;
    snap_on_restore(hook, &step);
    snap_on_restore(hook, &step);
    int restored = snap_ready();
    if (restored) {
        argc = (int)snap_argc();
        argv = snap_argv();
    }
    for (int i = 1; i < argc; i++) printf("%s\n", argv[i]);
    printf("K=%s, end %d\n", getenv("K"), argv[argc] == NULL);
    int in_envp = !restored;
    for (char **e = snap_envp(); restored && *e; e++) in_envp |= !strncmp(*e, "K=", 2);
    printf("%d %d %d\n", in_envp, hooks == (restored ? 10 : 0), (snap_generation() != 0) == restored);
    return argc;
}
