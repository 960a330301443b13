//! cc: gcc,clang
//! variants: O2,static,musl-static
//! flags: -D_GNU_SOURCE
//! snap-args: 1
//! run: 777 | | | 0
//! run: 778 | | | 1
#include <search.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

static int compare(const void *a, const void *b) { return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b); }

int main(int argc, char **argv) {
    (void)argc;
    static int values[1000];
    static char names[1000][8];
    void *tree = NULL;
    hcreate(2000);
    for (int i = 0; i < 1000; i++) {
        values[i] = (i * 7 + 3) % 1999 * 7;
        sprintf(names[i], "n%d", values[i]);
        tsearch(&values[i], &tree, compare);
        hsearch((ENTRY){names[i], &values[i]}, ENTER);
    }
    if (snap_ready()) argv = snap_argv();
    int key = atoi(argv[1]);
    int **found = tfind(&key, &tree, compare);
    char name[16];
    sprintf(name, "n%d", key);
    ENTRY *entry = hsearch((ENTRY){name, NULL}, FIND);
    qsort(values, 1000, sizeof *values, compare);
    int *hit = bsearch(&key, values, 1000, sizeof *values, compare);
    printf("%d %d %d\n", found != NULL, entry != NULL, hit != NULL);
    return hit == NULL;
}
