//! variants: O0,O2,nopie
//! run: | | | 0
#include <stdio.h>

/* All general registers but those that a system call clobbers. */
static unsigned long seen[12];

int main(void) {
    long ret;
    __asm__ volatile(
        "push %%rbp\n push %%rbx\n push %[seen]\n"
        "mov $1, %%ebx\n mov $2, %%ebp\n mov $4, %%r9d\n mov $5, %%r12d\n mov $6, %%r13d\n mov $7, %%r14d\n mov $8, %%r15d\n"
        "mov $0, %%esi\n mov $0, %%edx\n mov $0, %%r10d\n mov $0, %%r8d\n"
        "mov $157, %%eax\n mov $0x534e4150, %%edi\n syscall\n"
        "pop %%rcx\n"
        "mov %%rbx, 0(%%rcx)\n mov %%rbp, 8(%%rcx)\n mov %%r9, 16(%%rcx)\n mov %%r12, 24(%%rcx)\n mov %%r13, 32(%%rcx)\n"
        "mov %%r14, 40(%%rcx)\n mov %%r15, 48(%%rcx)\n mov %%rdi, 56(%%rcx)\n mov %%rsi, 64(%%rcx)\n"
        "pop %%rbx\n pop %%rbp\n"
        : "=a"(ret)
        : [seen] "c"(seen)
        : "rdi", "rsi", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    for (int i = 0; i < 9; i++) printf("%lx ", seen[i]);
    printf("\n");
    return 0;
}
