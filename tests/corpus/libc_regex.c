//! variants: O2,static,musl-static
//! snap-args: x
//! run: user@example.org | | | 0
//! run: nothing | | | 1
#include <regex.h>
#include <snap.h>
#include <stdio.h>

int main(int argc, char **argv) {
    (void)argc;
    regex_t re;
    regmatch_t m[3];
    if (regcomp(&re, "^([a-z]+)@([a-z.]+)$", REG_EXTENDED)) return 2;
    regexec(&re, "warm@up", 3, m, 0);
    if (snap_ready()) argv = snap_argv();
    int result = regexec(&re, argv[1], 3, m, 0);
    printf("%d\n", result);
    if (!result) printf("%.*s\n", (int)(m[2].rm_eo - m[2].rm_so), argv[1] + m[2].rm_so);
    regfree(&re);
    return result != 0;
}
