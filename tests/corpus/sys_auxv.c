//! at: main,ready
//! variants: O2,static,musl-static
//! run: | | | 0
#include <elf.h>
#include <fcntl.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* The auxiliary vector describes the program, the host and the instance. */
int main(void) {
    snap_ready();
    printf("page %lu, clock %lu, secure %lu\n", getauxval(AT_PAGESZ), getauxval(AT_CLKTCK), getauxval(AT_SECURE));
    const Elf64_Phdr *phdr = (const Elf64_Phdr *)getauxval(AT_PHDR);
    int loads = 0;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) loads += phdr[i].p_type == PT_LOAD;
    printf("segments %d, entry in text %d\n", loads > 1, getauxval(AT_ENTRY) != 0);
    const char *exec = (const char *)getauxval(AT_EXECFN);
    printf("execfn %s\n", exec ? strrchr(exec, '/') : "none");
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    int distinct = 0;
    for (int i = 1; i < 16; i++) distinct += random[i] != random[0];
    printf("random %d, platform %s\n", distinct > 3, (const char *)getauxval(AT_PLATFORM));
    return 0;
}
