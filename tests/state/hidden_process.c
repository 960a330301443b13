/* State of a process that the kernel reports nowhere: registrations for membarrier, locking of later memory. */
#define _GNU_SOURCE
#include <linux/membarrier.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "check.h"

static int barrier(int command) {
    return (int)syscall(SYS_membarrier, command, 0, 0);
}

static int is_locked(const void *address) {
    char line[512];
    int inside = 0, locked = -1;
    FILE *file = fopen("/proc/self/smaps", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file)) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2) inside = start <= (uintptr_t)address && (uintptr_t)address < end;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0) locked = strstr(line, " lo") != NULL;
    }
    fclose(file);
    return locked;
}

static unsigned char present(char *page) {
    unsigned char state = 0;
    CHECK(mincore(page, 4096, &state) == 0);
    return state & 1;
}

static char *map(void) {
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    return page;
}

int main(int argc, char **argv) {
    static const int commands[] = {
        MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ,
    };
    int known = barrier(MEMBARRIER_CMD_QUERY), on_fault = argc > 1 && strcmp(argv[1], "on-fault") == 0;
    for (int i = 0; i < 4; i++) if (known >= 0 && known & commands[i]) CHECK(barrier(commands[i]) == 0);
    int before = barrier(1 << 9 /* MEMBARRIER_CMD_GET_REGISTRATIONS */);
    char *early = map();
    int locks = mlockall(MCL_FUTURE | (on_fault ? MCL_ONFAULT : 0)) == 0;

    snap_ready();

    EQUAL(barrier(1 << 9), before);
    for (int i = 1; i < 4; i++) if (known >= 0 && known & commands[i]) CHECK(barrier(commands[i] / 2) == 0);
    char *late = map();
    if (locks) {
        EQUAL(is_locked(early), 0);
        EQUAL(is_locked(late), 1);
        EQUAL(present(late), !on_fault);
    }
    puts("ok");
    return 0;
}
