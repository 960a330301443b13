//! at: main,ready
//! flags: -Wl,-z,pack-relative-relocs
//! variants: O2
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

static const char *const names[] = {"zero", "one", "two", "three", "four", "five", "six", "seven"};
static const char *const *cursor = &names[3];

int main(void) {
    snap_ready();
    for (int i = 0; i < 8; i++) printf("%s ", names[i]);
    printf("%s\n", *cursor);
    return 0;
}
