/* Starts instances of snapshots. Link with -lsnapfn.
 *
 * Every function may be called by any thread. Where one fails, it returns NULL or -1 and puts a line that says why into
 * `error` (at most `size` bytes, always terminated; may be NULL). The objects are freed by what takes them: snapfn_close,
 * snapfn_pool_close, snapfn_wait, snapfn_forget. An instance is a child of this process, but wait for it by snapfn_wait. */
#ifndef SNAPFN_H
#define SNAPFN_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct snapfn;       /* an open snapshot */
struct snapfn_pool;  /* prepared instances of one */
struct snapfn_child; /* a started instance */

/* What an instance is started with. All zeroes is: no arguments, this process's environment and directory. */
struct snapfn_start {
    const char *const *argv; /* arguments behind the program's name, ended by NULL; or NULL */
    const char *const *envp; /* NAME=VALUE, ended by NULL; or NULL for this process's environment */
    const char *directory;   /* or NULL for this process's */
    int use_fds;             /* 0: this process's standard streams; 1: those below */
    int fds[3];              /* stay open here; -1 for /dev/null */
};

/* Opens NAME[:TAG] of the local store, or a file (./..., /..., *.snap). */
struct snapfn *snapfn_open(const char *name, char *error, size_t size);
/* Likewise with flags: memory may be writable and executable at once, which JIT compilers have. Without, such a snapshot is
 * not opened. */
#define SNAPFN_ALLOW_WX 1u
struct snapfn *snapfn_open_with(const char *name, unsigned flags, char *error, size_t size);
/* Running instances and pools go on. */
void snapfn_close(struct snapfn *snapshot);

/* Starts an instance. `start` may be NULL. */
struct snapfn_child *snapfn_spawn(const struct snapfn *snapshot, const struct snapfn_start *start, char *error,
                                  size_t size);

/* Keeps `count` instances prepared. */
struct snapfn_pool *snapfn_pool_open(const struct snapfn *snapshot, size_t count, char *error, size_t size);
/* Releases one of them; an ordinary instance where none is prepared. */
struct snapfn_child *snapfn_pool_spawn(const struct snapfn_pool *pool, const struct snapfn_start *start, char *error,
                                       size_t size);
/* How many are prepared at this moment. */
size_t snapfn_pool_prepared(const struct snapfn_pool *pool);
/* Ends those that still wait. */
void snapfn_pool_close(struct snapfn_pool *pool);

int snapfn_pid(const struct snapfn_child *child);
/* Sends a signal: 0 or -1. */
int snapfn_kill(struct snapfn_child *child, int signal);
/* Waits for its end and frees it: 0 with the status as waitpid has it. -1 if it never became an instance: then `status` is
 * that of snaprun (125, 126, 127 as an exit status), and `error` has its message. */
int snapfn_wait(struct snapfn_child *child, int *status, char *error, size_t size);
/* Frees it without waiting: it goes on, and is a zombie when it has ended. */
void snapfn_forget(struct snapfn_child *child);

#ifdef __cplusplus
}
#endif
#endif
