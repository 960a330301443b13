//! run: | | | 0
//! create: --allow-wx
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* A page that is writable and executable at once is changed after the snapshot. */
int main(void) {
    unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return 1;
    memcpy(page, "\xb8\x07\x00\x00\x00\xc3", 6); /* mov $7, %eax; ret */
    int (*f)(void) = (int (*)(void))page;
    int a = f();
    snap_ready();
    int b = f();
    page[1] = 9;
    printf("%d %d %d\n", a, b, f());
    return 0;
}
