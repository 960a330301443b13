/* Reports its process and ends when it is asked to. */
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>
static volatile int got;
static void on_term(int sig) { got = sig; }
int main(void) {
    signal(SIGTERM, on_term);
    snap_ready();
    printf("%d\n", (int)getpid());
    fflush(stdout);
    while (!got) pause();
    return 40 + got;
}
