/* Prints whether the functions that it calls are bound: whether their slots lead out of the program. */
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

extern char __executable_start[], _end[];

int main(int argc, char **argv) {
    char **slots = 0;
    unsigned long count = 0, bound = 0;
    for (ElfW(Dyn) *d = _DYNAMIC; d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_PLTGOT) slots = (char **)d->d_un.d_ptr + 3;
        if (d->d_tag == DT_PLTRELSZ) count = d->d_un.d_val / sizeof(ElfW(Rela));
    }
    for (unsigned long i = 0; i < count; i++) bound += slots[i] < __executable_start || slots[i] >= _end;
    printf("%lu of %lu\n", bound, count);
    return strlen(argv[0]) == 0 || argc == 0;
}
