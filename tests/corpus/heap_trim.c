//! variants: O2,static
//! run: | | | 0
#include <malloc.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The top of the heap is given back and taken again, before and after. */
int main(void) {
    void *blocks[64];
    for (int i = 0; i < 64; i++) memset(blocks[i] = malloc(100000), i, 100000);
    for (int i = 32; i < 64; i++) free(blocks[i]);
    malloc_trim(0);
    char *low = sbrk(0);
    for (int i = 32; i < 64; i++) memset(blocks[i] = malloc(100000), i, 100000);
    snap_ready();
    for (int i = 32; i < 64; i++) free(blocks[i]);
    printf("trimmed %d, back at the same end %d\n", malloc_trim(0), (char *)sbrk(0) == low);
    int ok = 0;
    for (int i = 0; i < 32; i++) ok += ((char *)blocks[i])[99999] == i;
    for (int i = 32; i < 64; i++) memset(blocks[i] = malloc(100000), i, 100000);
    for (int i = 32; i < 64; i++) ok += ((char *)blocks[i])[99999] == i;
    printf("%d\n", ok);
    return 0;
}
