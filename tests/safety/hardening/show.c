/* Prints its RELRO, its own maps and its status, behind a line that names each. */
#define _GNU_SOURCE
#include <snap.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <unistd.h>
static void *idle(void *arg) { pause(); return arg; }
static void show(const char *path) {
    char buffer[65536];
    FILE *file = fopen(path, "r");
    printf("== %s\n", path);
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) > 0;) fwrite(buffer, 1, n, stdout);
    fclose(file);
}
/* Pages of [start, end) that are writable now. */
static int writable(unsigned long start, unsigned long end) {
    char line[4096];
    unsigned long from, to;
    char prot[8];
    int pages = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx-%lx %7s", &from, &to, prot) != 3 || !strchr(prot, 'w')) continue;
        if (from < start) from = start;
        if (to > end) to = end;
        if (from < to) pages += (to - from) / 4096;
    }
    fclose(file);
    return pages;
}
static int relro(struct dl_phdr_info *info, size_t size, void *arg) {
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_GNU_RELRO) continue;
        unsigned long start = (info->dlpi_addr + header->p_vaddr) & -4096UL;
        unsigned long end = (info->dlpi_addr + header->p_vaddr + header->p_memsz) & -4096UL;
        printf("%s %lu %d\n", info->dlpi_name, (end - start) / 4096, writable(start, end));
    }
    return 0;
}
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, idle, 0);
    char *large = malloc(1 << 20);
    large[0] = 1;
    snap_ready();
    dl_iterate_phdr(relro, 0);
    show("/proc/self/maps");
    show("/proc/self/status");
    fflush(stdout);
    _exit(0);
}
