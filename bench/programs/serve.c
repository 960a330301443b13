/* A warm parent: for each byte of standard input a child that serves a request. */
#include "heap.h"
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char byte;
    if (!initialise(argc > 1 ? argv[1] : "1")) return 1;
    while (read(0, &byte, 1) == 1) {
        pid_t child = fork();
        if (child < 0) return 1;
        if (child == 0) {
            request();
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    return 0;
}
