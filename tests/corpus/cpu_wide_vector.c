//! variants: O0,O2
//! run: | | | 0
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

/* The registers of AVX-512 are live across the snapshot point: zmm16-31 and mask registers. */
static unsigned char in[16][64] __attribute__((aligned(64))), out[16][64] __attribute__((aligned(64)));

#define LOAD(n, r) "vmovdqa64 " #n "*64(%[in]), %%zmm" #r "\n"
#define SAVE(n, r) "vmovdqa64 %%zmm" #r ", " #n "*64(%[out])\n"
#define ALL(M)                                                                                                         \
    M(0, 16) M(1, 17) M(2, 18) M(3, 19) M(4, 20) M(5, 21) M(6, 22) M(7, 23)                                            \
    M(8, 24) M(9, 25) M(10, 26) M(11, 27) M(12, 28) M(13, 29) M(14, 30) M(15, 31)

/* The prctl that marks the point: an ordinary run gets EINVAL. */
__attribute__((target("avx512f"))) static unsigned cross(unsigned mask) {
    long ret = 157;
    unsigned after;
    __asm__ volatile("kmovw %[mask], %%k3\n" ALL(LOAD) "xor %%esi, %%esi\n xor %%edx, %%edx\n xor %%r10d, %%r10d\n"
                     "xor %%r8d, %%r8d\n syscall\n" ALL(SAVE) "kmovw %%k3, %[after]\n vzeroupper\n"
                     : "+a"(ret), [after] "=b"(after)
                     : "D"(0x534e4150L), [in] "r"(in), [out] "r"(out), [mask] "b"(mask)
                     : "rcx", "rdx", "rsi", "r8", "r10", "r11", "memory");
    return after;
}

int main(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512f")) {
        /* There is nothing to keep, but it is a point, too. */
        prctl(0x534e4150, 0L, 0L, 0L, 0L);
        puts("this processor has no AVX-512");
        return 0;
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 64; k++) in[i][k] = (unsigned char)(i * 64 + k * 7 + 1);
    unsigned mask = cross(0x5a5a);
    int same = 0;
    for (int i = 0; i < 16; i++) same += !memcmp(in[i], out[i], 64);
    printf("%d registers of 16, mask %#x\n", same, mask);
    return 0;
}
