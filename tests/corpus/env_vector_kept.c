//! variants: O2,static,musl-static
//! snap-env: MARK=old
//! run: | | MARK=new | 0
#include <snap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The environment's vector kept as pointer and count, as two pointers and with a tag in its lowest bit: an instance
 * with as many variables has its own in the same place. */
static struct { char **vector; size_t count; } span;
static struct { char **begin, **end; } range;

int main(int argc, char **argv, char **envp) {
    extern char **environ;
    (void)argc, (void)argv;
    size_t count = 0;
    while (envp[count]) count++;
    span.vector = envp, span.count = count;
    range.begin = envp, range.end = envp + count;
    uintptr_t tagged = (uintptr_t)environ | 1;
    snap_ready();
    size_t variables = 0, turns = 0;
    for (size_t i = 0; i < span.count; i++) variables += span.vector[i] && strchr(span.vector[i], '=');
    for (char **e = range.begin; e != range.end && turns < 100000; e++) turns++;
    printf("span %d, range %d, tagged %d\n", variables == span.count, turns == count, (char **)(tagged & ~1ul) == environ);
    printf("%s\n", getenv("MARK"));
    return 0;
}
