//! variants: O2,static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <setjmp.h>
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <sys/mman.h>

/* Protections are kept: inaccessible and read-only pages still fault. */
static sigjmp_buf back;
static void on_fault(int sig) { siglongjmp(back, sig); }

static int faults(volatile char *p, int write) {
    int sig = sigsetjmp(back, 1);
    if (sig) return sig == SIGSEGV;
    if (write) *p = 1;
    else (void)*p;
    return 0;
}

int main(void) {
    char *p = mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[0] = p[4096] = p[8192] = p[12288] = p[16384] = 1;
    mprotect(p + 4096, 4096, PROT_NONE);
    mprotect(p + 12288, 4096, PROT_READ);
    signal(SIGSEGV, on_fault);
    snap_ready();
    for (int i = 0; i < 5; i++) printf("page %d: read %d write %d\n", i, faults(p + i * 4096, 0), faults(p + i * 4096, 1));
    mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE);
    printf("content behind the guard: %d\n", p[4096]);
    return 0;
}
