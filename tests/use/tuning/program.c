/* Writes every fourth of 64 pages after the snapshot point. */
#include <snap.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static char pages[64][4096];

int main(int argc, char **argv) {
    for (int i = 0; i < 64; i++) memset(pages[i], i + 1, sizeof pages[i]);
    if (snap_ready()) argc = (int)snap_argc(), argv = snap_argv();
    if (argc > 1 && strcmp(argv[1], "die") == 0) raise(SIGKILL);
    for (int i = 0; i < 64; i += 4) pages[i][7] += (char)argc;
    int sum = 0;
    for (int i = 0; i < 64; i++) sum += pages[i][7];
    printf("%d %s\n", sum, argc > 1 ? argv[1] : "");
    return 7;
}
