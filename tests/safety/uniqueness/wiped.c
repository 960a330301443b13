/* Memory that the kernel empties in a child or under pressure, with several kinds of advice and mappings. */
#define _GNU_SOURCE
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static const char *zero(const unsigned char *at) {
    for (int i = 0; i < 8192; i++)
        if (at[i]) return "filled";
    return "zero";
}
static const char *flag(const void *at, const char *wanted) {
    char line[512], *end;
    FILE *maps = fopen("/proc/self/smaps", "r");
    int inside = 0;
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) inside = (unsigned long)at >= from && (unsigned long)at < to;
        else if (inside && !strncmp(line, "VmFlags:", 8)) {
            end = strstr(line, wanted);
            fclose(maps);
            return end ? wanted : "no flag";
        }
    }
    return "no line";
}
int main(void) {
    int prot = PROT_READ | PROT_WRITE;
    unsigned char *wipe = mmap(0, 8192, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *drop = mmap(0, 8192, prot, 0x08 /* MAP_DROPPABLE */ | MAP_ANONYMOUS, -1, 0);
    madvise(wipe, 8192, MADV_WIPEONFORK);
    memset(wipe, 'w', 8192);
    if (drop != MAP_FAILED) memset(drop, 'd', 8192);
    if (!snap_ready()) return 0;
    printf("wipe %s %s\n", zero(wipe), flag(wipe, "wf"));
    if (drop == MAP_FAILED) puts("drop none");
    else printf("drop %s %s\n", zero(drop), flag(drop, "dp"));
    memset(wipe, 'x', 8192);
    if (fork() == 0) _exit(strcmp(zero(wipe), "zero") != 0);
    int status;
    wait(&status);
    printf("child %d\n", status);
    return 0;
}
