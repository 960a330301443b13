/* For tools that restore a process as it was: initialises, waits until the file "go" is there, serves one request into
 * the file "answer". */
#include "heap.h"
#include <unistd.h>

int main(int argc, char **argv) {
    if (!initialise(argc > 1 ? argv[1] : "1")) return 1;
    FILE *ready = fopen("ready", "w");
    if (!ready || fclose(ready)) return 1;
    while (access("go", F_OK)) usleep(20);
    if (!freopen("answer", "w", stdout)) return 1;
    request();
    return 0;
}
