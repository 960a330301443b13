#include <stdio.h>

/* A small library: state, a constructor, a destructor, thread-local data, a call into libc. */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

static int calls;
static __thread int local = 100;
int JOIN(NAME, _constructed);
int JOIN(NAME, _shared) = 7;

__attribute__((constructor)) static void on_load(void) { JOIN(NAME, _constructed) = 1; }
__attribute__((destructor)) static void on_unload(void) {
    printf("unloaded after %d calls\n", calls);
    fflush(stdout);
}

int JOIN(NAME, _read_shared)(void) { return JOIN(NAME, _shared); }
int JOIN(NAME, _call)(int x) {
    calls++;
    local += x;
    return local * 10 + calls;
}
