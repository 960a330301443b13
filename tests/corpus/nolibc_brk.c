//! variants: O2,nopie
//! flags: -nostdlib -static -ffreestanding -fno-stack-protector
/* No libc: brk grows before and after, and keeps what was written. */
static long call6(long nr, long a, long b, long c, long d, long e, long f) {
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

__attribute__((used, noreturn)) static void begin(void) {
    char *start = (char *)call6(12, 0, 0, 0, 0, 0, 0);
    char *end = (char *)call6(12, (long)start + 300000, 0, 0, 0, 0, 0);
    int ok = end == start + 300000;
    for (long i = 0; i < 300000; i += 1000) start[i] = (char)(i / 1000);
    char *map = (char *)call6(9, 0, 1 << 20, 3, 0x22, -1, 0);
    map[12345] = 7;
    call6(157, 0x534e4150, 0, 0, 0, 0, 0);
    ok &= (char *)call6(12, 0, 0, 0, 0, 0, 0) == end;
    for (long i = 0; i < 300000; i += 1000) ok &= start[i] == (char)(i / 1000);
    ok &= (char *)call6(12, (long)end + (16 << 20), 0, 0, 0, 0, 0) == end + (16 << 20);
    end[(16 << 20) - 1] = 1;
    ok &= map[12345] == 7 && map[12346] == 0;
    ok &= (char *)call6(12, (long)start + 100000, 0, 0, 0, 0, 0) == start + 100000;
    call6(1, 1, (long)(ok ? "good\n" : "bad!\n"), 5, 0, 0, 0);
    for (;;) call6(60, !ok, 0, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start: xor %ebp, %ebp\n and $-16, %rsp\n call begin\n");
