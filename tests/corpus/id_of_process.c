//! at: syscall:clone
//! variants: O2
//! same-or-noted: words equal the process ID, for which id_of_process | --same-pid
//! run: | | | 0
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t master;

/* A pre-fork server compares its process ID with the one that it has kept, to tell whether it is a worker. */
int main(void) {
    master = getpid();
    pid_t child = fork();
    if (child < 0) return 1;
    if (getpid() != master) {
        if (child) printf("the master takes itself for a worker\n");
        return 0;
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("the master has waited: %d\n", status);
    return 0;
}
