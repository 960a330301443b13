/* Starts instances of snapshots. Link with -lsnapfn.
 *
 * Any thread may call any function. If a function fails, it returns NULL or -1 and writes a line that says why into
 * `error` (at most `size` bytes, always terminated; may be NULL). These functions free the object that they get:
 * snapfn_close, snapfn_pool_close, snapfn_wait, snapfn_forget. An instance is a child of this process, but wait for it
 * by snapfn_wait. */
#ifndef SNAPFN_H
#define SNAPFN_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct snapfn;       /* an open snapshot */
struct snapfn_pool;  /* prepared instances of a snapshot */
struct snapfn_child; /* a started instance */

/* What an instance starts with. A structure of zeros means: no arguments, this process's environment and directory. */
struct snapfn_start {
    const char *const *argv; /* arguments behind the program's name, ended by NULL; or NULL */
    const char *const *envp; /* NAME=VALUE, ended by NULL; or NULL for this process's environment */
    const char *directory;   /* working directory; or NULL for this process's */
    int use_fds;             /* 0: this process's standard streams; 1: those in `fds` */
    int fds[3];              /* standard streams, which stay open in this process; -1 for /dev/null */
};

/* Opens NAME[:TAG] of the local store, or a file (./..., /..., *.snap). */
struct snapfn *snapfn_open(const char *name, char *error, size_t size);
/* Does the same with flags. SNAPFN_ALLOW_WX: memory may be writable and executable at once, which JIT compilers have.
 * Without the flag, such a snapshot is not opened. */
#define SNAPFN_ALLOW_WX 1u
struct snapfn *snapfn_open_with(const char *name, unsigned flags, char *error, size_t size);
/* Closes the snapshot. Running instances and pools go on. */
void snapfn_close(struct snapfn *snapshot);

/* Starts an instance. `start` may be NULL. */
struct snapfn_child *snapfn_spawn(const struct snapfn *snapshot, const struct snapfn_start *start, char *error,
                                  size_t size);

/* Keeps `count` instances prepared. */
struct snapfn_pool *snapfn_pool_open(const struct snapfn *snapshot, size_t count, char *error, size_t size);
/* Releases a prepared instance, or starts an ordinary one if none is prepared. */
struct snapfn_child *snapfn_pool_spawn(const struct snapfn_pool *pool, const struct snapfn_start *start, char *error,
                                       size_t size);
/* Returns how many instances are prepared at this moment. */
size_t snapfn_pool_prepared(const struct snapfn_pool *pool);
/* Ends the instances that still wait, and closes the pool. */
void snapfn_pool_close(struct snapfn_pool *pool);

/* Returns the instance's PID. */
int snapfn_pid(const struct snapfn_child *child);
/* Sends a signal. Returns 0 or -1. */
int snapfn_kill(struct snapfn_child *child, int signal);
/* Waits for the instance's end and frees `child`. Returns 0, with the status in the form of waitpid; or -1 if the
 * process never became an instance: then `status` is that of snaprun (125, 126, 127 as an exit status), and `error`
 * has its message. */
int snapfn_wait(struct snapfn_child *child, int *status, char *error, size_t size);
/* Frees `child` without waiting. The instance goes on, and is a zombie after its end. */
void snapfn_forget(struct snapfn_child *child);

#ifdef __cplusplus
}
#endif
#endif
