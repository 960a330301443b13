//! flags: -D_GNU_SOURCE
//! variants: O2,static
//! run: | | | 0
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* Function pointers that glibc keeps mangled. */
static char sink[4096];
static size_t used;
static ssize_t put(void *cookie, const char *data, size_t n) {
    (void)cookie;
    memcpy(sink + used, data, n);
    used += n;
    return (ssize_t)n;
}

int main(void) {
    FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){.write = put});
    setvbuf(f, NULL, _IOFBF, 8);
    fprintf(f, "hello from before;");
    snap_ready();
    fprintf(f, "and after");
    fclose(f);
    printf("%zu %s\n", used, sink);
    return 0;
}
