/* Keeps a copy of a value that is too short to be searched for. */
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static char kept[16];
int main(void) {
    char *value = getenv("X_PASSWORD");
    strcpy(kept, value);
    snap_ready();
    printf("%s %d\n", kept, value[0]);
    return 0;
}
