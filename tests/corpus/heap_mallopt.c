//! run: | | | 0
#include <malloc.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    mallopt(M_MMAP_THRESHOLD, 4096);
    mallopt(M_TOP_PAD, 1 << 20);
    mallopt(M_PERTURB, 0);
    char *a = malloc(5000);
    strcpy(a, "mapped");
    snap_ready();
    char *blocks[200];
    for (int i = 0; i < 200; i++) memset(blocks[i] = malloc(5000), i, 5000);
    int ok = 0;
    for (int i = 0; i < 200; i++) ok += (unsigned char)blocks[i][4999] == i;
    printf("%s %d, in whole pages %d\n", a, ok, malloc_usable_size(a) > 5000);
    free(a);
    return 0;
}
