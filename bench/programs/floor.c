/* The floor: a static program without a C library that ends at once. */
__attribute__((naked, noreturn)) void _start(void) {
    __asm__("xor %edi, %edi\n\tmov $231, %eax\n\tsyscall");
}
