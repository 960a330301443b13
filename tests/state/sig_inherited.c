/* Prints which of four signals are ignored: inherited dispositions are the starter's, the program's own stay. */
#include <signal.h>
#include <stdio.h>
#include <snap.h>

static char ignored(int signo) {
    struct sigaction action;
    sigaction(signo, NULL, &action);
    return action.sa_handler == SIG_IGN ? 'i' : 'd';
}

int main(void) {
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_DFL);
    snap_ready();
    printf("hup %c int %c usr1 %c usr2 %c\n", ignored(SIGHUP), ignored(SIGINT), ignored(SIGUSR1), ignored(SIGUSR2));
    return 0;
}
