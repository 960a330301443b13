//! variants: O2,musl-static
//! snap-env: MARK=old
//! run: | | MARK=new | 0
//! run: | | MARK=new OTHER=1 | 0
#include <snap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A vector in read-only memory that leads to the strings of the start: the program has copied no string, and data that
   equals the address of the old vector is data. */
static struct {
    uintptr_t key, check;
} entry;

int main(void) {
    extern char **environ;
    size_t count = 0;
    while (environ[count]) count++;
    size_t len = (count + 1) * sizeof *environ;
    char **vector = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (vector == MAP_FAILED) return 1;
    memcpy(vector, environ, len);
    entry.key = (uintptr_t)environ;
    entry.check = entry.key ^ 0x5555;
    if (mprotect(vector, len, PROT_READ)) return 1;
    environ = vector;
    snap_ready();
    printf("key stays: %d\n", entry.key == (entry.check ^ 0x5555));
    printf("MARK=%s\n", getenv("MARK"));
    return 0;
}
