//! cc: gcc,clang
//! variants: O0,O2,nopie,static-pie
//! flags: -nostdlib -static -ffreestanding -fno-stack-protector
//! run: | | | 42
/* No libc: data, bss and stack survive a snapshot point that is called by hand. */
static long call5(long nr, long a, long b, long c, long d, long e) {
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return ret;
}

static int counter = 40;
static char zeroed[100000];

__attribute__((used, noreturn)) static void begin(void) {
    volatile char local[4096];
    for (int i = 0; i < 4096; i++) local[i] = (char)i;
    counter++;
    zeroed[99999] = 1;
    call5(157, 0x534e4150, 0, 0, 0, 0);
    int ok = zeroed[99999] == 1 && zeroed[5000] == 0;
    for (int i = 0; i < 4096; i++) ok &= local[i] == (char)i;
    call5(1, 1, (long)(ok ? "good\n" : "bad!\n"), 5, 0, 0);
    for (;;) call5(60, counter + 1, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start: xor %ebp, %ebp\n and $-16, %rsp\n call begin\n");
