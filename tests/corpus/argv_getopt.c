//! at: main
//! cc: gcc,clang
//! variants: O2,static,musl-static
//! snap-args: -v
//! run: -v -o out --name=x rest more | | | 0
//! run: rest -v more -o late | | | 0
//! run: -q | | | 2
//! run: --unknown | | | 2
#include <getopt.h>
#include <stdio.h>

int main(int argc, char **argv) {
    static const struct option longs[] = {{"name", required_argument, NULL, 'n'}, {"out", required_argument, NULL, 'o'}, {0}};
    int c, bad = 0;
    while ((c = getopt_long(argc, argv, "vo:n:", longs, NULL)) != -1) {
        if (c == '?') bad = 2;
        else printf("option %c %s\n", c, optarg ? optarg : "-");
    }
    for (int i = optind; i < argc; i++) printf("rest %s\n", argv[i]);
    printf("done\n");
    return bad;
}
