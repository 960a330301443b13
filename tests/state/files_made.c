/* Makes three files: one that stays open, one in shared memory that stays mapped, and a cache that is closed. */
#include <fcntl.h>
#include <sys/mman.h>
#include "check.h"

int main(void) {
    char name[64];
    int log = open("made.log", O_CREAT | O_RDWR | O_APPEND, 0666), cache = open("made.cache", O_CREAT | O_WRONLY, 0666);
    int old = open("there-before", O_CREAT | O_RDWR, 0666);
    CHECK(log >= 0 && cache >= 0 && old >= 0 && close(cache) == 0);
    snprintf(name, sizeof name, "/snapfn-made-%d", (int)getpid());
    int shared = shm_open(name, O_CREAT | O_RDWR, 0600);
    CHECK(shared >= 0 && ftruncate(shared, 4096) == 0);
    char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    CHECK(memory != MAP_FAILED && close(shared) == 0);
    memory[0] = 'm';

    snap_ready();

    CHECK(memory[0] == 'm' && write(log, "l", 1) == 1);
    shm_unlink(name);
    puts("ok");
    return 0;
}
