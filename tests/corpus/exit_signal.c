//! at: main,ready
//! variants: O2,static,musl-static
//! snap-args: 0
//! run: 15 | | | SIGTERM
//! run: 9 | | | SIGKILL
//! run: 10 | | | SIGUSR1
//! run: 3 | | | SIGQUIT
//! run: 1 | | | SIGHUP
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    if (snap_ready()) argv = snap_argv();
    printf("dying of %s\n", argv[1]);
    fflush(stdout);
    kill(getpid(), atoi(argv[1]));
    return 1;
}
