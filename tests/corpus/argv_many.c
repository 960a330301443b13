//! at: main
//! variants: O2,static
//! snap-args: x
//! run: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 | | A=1 B=2 C=3 D=4 E=5 F=6 G=7 H=8 I=9 J=10 | 64
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    long sum = 0, vars = 0;
    for (int i = 1; i < argc; i++) sum += strtol(argv[i], NULL, 10);
    for (char **e = environ; *e; e++) vars++;
    printf("%d arguments, sum %ld, %ld variables\n", argc - 1, sum, vars);
    return sum == 820 ? 64 : 1;
}
