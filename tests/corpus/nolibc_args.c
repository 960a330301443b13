//! at: main
//! cc: gcc,clang
//! variants: O0,O2,nopie,static-pie
//! flags: -nostdlib -static -ffreestanding -fno-stack-protector
//! snap-args: before
//! run: first second | | | 0
//! run: | | | 0
/* No libc: the arguments are where the kernel puts them, above the initial stack pointer. */
static long call3(long nr, long a, long b, long c) {
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return ret;
}

static void print(const char *s) {
    long n = 0;
    while (s[n]) n++;
    call3(1, 1, (long)s, n);
    call3(1, 1, (long)"\n", 1);
}

__attribute__((used, noreturn)) static void begin(long *sp) {
    char **argv = (char **)(sp + 1);
    print("args:");
    for (long i = 1; i < sp[0]; i++) print(argv[i]);
    for (;;) call3(60, 0, 0, 0);
}

__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
