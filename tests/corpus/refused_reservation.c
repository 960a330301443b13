//! at: ready
//! variants: O2,static
//! refused: 32768 GiB, part of which lies where snaprun itself does | reserve less than 10 TiB at once
#define _GNU_SOURCE
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>

/* It is more than fits between the places that an instance's memory cannot use. */
int main(void) {
    char *memory = mmap(NULL, 32UL << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    snap_ready();
    puts(memory == MAP_FAILED ? "failed" : "reserved");
    return 0;
}
