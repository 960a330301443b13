//! at: main,ready
//! cc: gcc,clang
//! variants: O2,lto,static
//! snap-args: 1
//! run: 123456789 | | | 0
#include <snap.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* A table of constants, and one computed at start. */
static const uint32_t nibble[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                    0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                    0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
static uint32_t computed[256];

int main(int argc, char **argv) {
    (void)argc;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >> 1) : c >> 1;
        computed[i] = c;
    }
    if (snap_ready()) argv = snap_argv();
    uint32_t a = ~0u, b = ~0u;
    for (const char *p = argv[1]; *p; p++) {
        a = nibble[(a ^ (uint32_t)*p) & 15] ^ (a >> 4);
        a = nibble[(a ^ ((uint32_t)*p >> 4)) & 15] ^ (a >> 4);
        b = computed[(b ^ (uint32_t)*p) & 255] ^ (b >> 8);
    }
    printf("%08x %08x\n", ~a, ~b);
    return 0;
}
