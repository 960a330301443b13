//! at: main
//! variants: O2,static,musl-static
//! snap-args: one
//! run: one two three | | | 0
//! run: | | A=1 | 0
//! run: a-rather-long-argument-that-is-longer-than-the-names | | | 0
#include <stdio.h>
#include <string.h>

/* Programs that write a title over their arguments take for granted that the strings of argv lie one behind the other,
 * and those of environ behind them. */
int main(int argc, char **argv) {
    extern char **environ;
    int apart = 0;
    char *end = argv[0] + strlen(argv[0]) + 1;
    for (int i = 1; i < argc; i++) {
        apart += argv[i] != end;
        end = argv[i] + strlen(argv[i]) + 1;
    }
    apart += environ[0] && environ[0] != end;
    for (char **variable = environ; *variable; variable++) {
        apart += *variable != end;
        end = *variable + strlen(*variable) + 1;
    }
    printf("%d apart\n", apart);
    memset(argv[0], 't', (size_t)(end - argv[0]) - 1);
    char line[64] = "";
    FILE *cmdline = fopen("/proc/self/cmdline", "r");
    if (cmdline) fread(line, 1, 8, cmdline);
    printf("title %s\n", line);
    return apart;
}
