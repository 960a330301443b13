//! variants: O0,O2
//! run: | | | 0
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

/* All vector registers live across the snapshot point, as wide as the machine has them. */
static unsigned char in[16][32] __attribute__((aligned(32))), out[16][32] __attribute__((aligned(32)));

int main(void) {
    __builtin_cpu_init();
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 32; k++) in[i][k] = (unsigned char)(i * 32 + k * 7 + 1);
    int wide = __builtin_cpu_supports("avx") != 0;
    long ret;
#define LOAD(n) "vmovdqa " #n "*32(%[in]), %%ymm" #n "\n"
#define SAVE(n) "vmovdqa %%ymm" #n ", " #n "*32(%[out])\n"
#define LOADX(n) "movdqa " #n "*32(%[in]), %%xmm" #n "\n"
#define SAVEX(n) "movdqa %%xmm" #n ", " #n "*32(%[out])\n"
#define ALL(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define CALL "xor %%esi, %%esi\n xor %%edx, %%edx\n xor %%r10d, %%r10d\n xor %%r8d, %%r8d\n syscall\n"
#define CLOBBERS                                                                                                       \
    "rcx", "rdx", "rsi", "r8", "r10", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", \
        "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
    if (wide)
        __asm__ volatile(ALL(LOAD) CALL ALL(SAVE) "vzeroupper\n"
                         : "=a"(ret)
                         : "a"(157L), "D"(0x534e4150L), [in] "r"(in), [out] "r"(out)
                         : CLOBBERS);
    else
        __asm__ volatile(ALL(LOADX) CALL ALL(SAVEX)
                         : "=a"(ret)
                         : "a"(157L), "D"(0x534e4150L), [in] "r"(in), [out] "r"(out)
                         : CLOBBERS);
    int same = 0;
    for (int i = 0; i < 16; i++) same += !memcmp(in[i], out[i], wide ? 32 : 16);
    printf("%d registers of 16\n", same);
    return 0;
}
