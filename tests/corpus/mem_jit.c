//! variants: O2,static,musl-static
//! run: 5 | | | 0
//! run: 1000 | | | 0
//! snap-args: 1
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Machine code made at run time, before and after, in pages that become executable. */
typedef long fn(long);

static fn *make(int addend) {
    unsigned char code[] = {0x48, 0x8d, 0x87, 0, 0, 0, 0, 0xc3}; /* lea addend(%rdi), %rax; ret */
    memcpy(code + 3, &addend, 4);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, code, sizeof code);
    mprotect(page, 4096, PROT_READ | PROT_EXEC);
    return (fn *)page;
}

int main(int argc, char **argv) {
    (void)argc;
    fn *before = make(10);
    long first = before(1);
    if (snap_ready()) argv = snap_argv();
    long n = atol(argv[1]);
    fn *after = make(20);
    printf("%ld %ld %ld\n", first, before(n), after(n));
    return 0;
}
