//! at: main
//! variants: O2,static
//! snap-args: one
//! snap-env: A=1
//! run: one two three | | A=1 B=2 C=3 | 0
//! run: | | | 0
//! run: a b c d e f g h i j | | A=2 | 0
#include <stdio.h>
#include <string.h>

/* glibc passes the arguments and the environment to constructors, which keep them in various ways. Rust's standard
 * library does so in every program. */
static int before = 1, count, behind = 2;
static long wide;
static char **vector, **end, **variables, **variables_end;
static struct { short tag; char **vector; int count; } span;

__attribute__((constructor)) static void keep(int argc, char **argv, char **envp) {
    wide = count = span.count = argc;
    vector = span.vector = argv;
    end = argv + argc;
    variables = variables_end = envp;
    while (*variables_end) variables_end++;
}

int main(int argc, char **argv, char **envp) {
    extern char **environ;
    int same = count == argc && wide == argc && span.count == argc && vector == argv && span.vector == argv;
    printf("arguments %d %d, others untouched %d:", same, end == argv + argc, before == 1 && behind == 2);
    for (char **arg = vector + 1; arg != end; arg++) printf(" [%s]", *arg);
    printf("\nenvironment %d:", variables == environ && variables == envp);
    for (char **variable = variables; variable != variables_end; variable++)
        if (strlen(*variable) == 3) printf(" %s", *variable);
    putchar('\n');
    return 0;
}
