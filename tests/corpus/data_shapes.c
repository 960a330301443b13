//! variants: O2,static,musl-static
//! flags: -D_GNU_SOURCE
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Records that look like a held mutex, and a word that was passed to set_tid_address and holds something else now. */
struct job {
    int running, error;
    pid_t pid;
    int references, priority, exit_status;
    struct job *next, *previous;
};
static struct job *jobs;
static struct { int mode, error; pid_t pid; int users; char rest[256]; } buffer = {.mode = 2, .users = 1};
static int word, other;

static unsigned sum(const void *data, size_t len) {
    unsigned h = 7;
    for (const unsigned char *c = data; len--;) h = h * 31 + *c++;
    return h;
}

int main(void) {
    jobs = calloc(1, sizeof *jobs);
    jobs->running = jobs->references = 1;
    jobs->pid = buffer.pid = getpid();
    unsigned before = sum(jobs, sizeof *jobs), rest = sum(&buffer, sizeof buffer);
    pid_t key = jobs->pid;
    word = (int)syscall(SYS_set_tid_address, &word);
    other = word;
    snap_ready();
    printf("job %d %d, buffer %d, word %d\n", jobs->pid == key, sum(jobs, sizeof *jobs) == before,
           sum(&buffer, sizeof buffer) == rest, word == other);
    return 0;
}
