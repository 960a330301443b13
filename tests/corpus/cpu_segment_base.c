//! variants: O2,static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <asm/prctl.h>
#include <snap.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The second segment base, which some runtimes use for themselves. */
static unsigned long block[4] = {11, 22, 33, 44};

int main(void) {
    syscall(SYS_arch_prctl, ARCH_SET_GS, block);
    snap_ready();
    unsigned long value;
    __asm__("mov %%gs:16, %0" : "=r"(value));
    printf("%lu\n", value);
    return 0;
}
