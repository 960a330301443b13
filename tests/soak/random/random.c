/* A program by its seed: `random SEED [STEPS]` makes that many kinds of kernel state in random order, calls
 * snap_ready(), and prints the state of each. The output of two ordinary runs of one seed is the same, so an instance
 * that prints anything else is wrong. The program also compares the results of getters with those just before the
 * point.
 *
 *   step.h      random numbers, the steps, what is printed
 *   files.h     files, descriptors, pipes, sockets, epoll and the like
 *   memory.h    mappings, advice, protection, the heap
 *   process.h   signals, timers, attributes, limits, the C library's own state
 *   threads.h   threads that wait, mutexes that are held
 *   refused.h   state that no instance can have
 */
#define _GNU_SOURCE
#include <snap.h>

#include "step.h"

#include "files.h"
#include "memory.h"
#include "process.h"
#include "refused.h"
#include "threads.h"

static const struct kind *const kinds[] = {
    &file, &deleted_file, &directory, &duplicate, &pipe_ends, &socket_pair, &event_counter, &timer_descriptor,
    &signal_descriptor, &event_poll, &memory_file, &watch, &file_lock, &listener, &stream,
    &anonymous, &shared, &mapped_file, &advised, &heap, &program_break,
    &file_mask, &working_directory, &process_name, &limit, &disposition, &blocked_signal, &pending_signal,
    &alternate_stack, &interval_timer, &posix_timer, &niceness, &environment, &random_numbers, &rounding,
    &waiting_thread, &held_mutex,
    &refused_connection, &refused_queue, &refused_uring,
};

int main(int argc, char **argv) {
    unsigned long seed = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    unsigned steps = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
    seed_random(seed);
    block_own_signals();
    if (steps == 0) steps = 1 + below(12);
    for (unsigned i = 0; i < steps; i++) {
        const struct kind *kind = kinds[below(sizeof kinds / sizeof *kinds)];
        /* What is refused is rare: most programs must come to an instance. */
        if (!kind->is_refused || below(8) == 0) take(kind);
    }
    for (unsigned i = 0; i < count; i++) observe(&all[i], all[i].before);

    snap_ready();

    printf("seed %lu:", seed);
    for (unsigned i = 0; i < count; i++) printf(" %s", all[i].kind->name);
    puts("");
    int wrong = 0;
    for (unsigned i = 0; i < count; i++) {
        static char after[TEXT];
        observe(&all[i], after);
        if (strcmp(all[i].before, after)) {
            printf("%s differs from before the point:\n%s---\n", all[i].kind->name, all[i].before);
            wrong = 1;
        }
        printf("%s\n%s", all[i].kind->name, after);
    }
    for (unsigned i = 0; i < count; i++) {
        printf("use %s:", all[i].kind->name);
        if (all[i].kind->use) all[i].kind->use(&all[i]);
        puts("");
    }
    fflush(stdout);
    return wrong;
}
