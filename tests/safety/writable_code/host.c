/* Starts an instance through the C library, without and with the option. */
#include <snapfn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    char why[400];
    int status = -1;
    struct snapfn *snapshot = snapfn_open(argv[argc - 1], why, sizeof why);
    if (snapshot) return 1;
    puts(why);
    if (snapfn_open_with(argv[argc - 1], 6, why, sizeof why)) return 2;
    snapshot = snapfn_open_with(argv[argc - 1], SNAPFN_ALLOW_WX, why, sizeof why);
    struct snapfn_child *child = snapshot ? snapfn_spawn(snapshot, NULL, why, sizeof why) : NULL;
    if (!child || snapfn_wait(child, &status, why, sizeof why) != 0) return puts(why), 3;
    snapfn_close(snapshot);
    return status == 6 << 8 ? 0 : 4;
}
