//! variants: O2,musl-static
//! run: | | | 0
#include <grp.h>
#include <pwd.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

/* Name services, used before and after. */
int main(void) {
    struct passwd *before = getpwuid(0);
    printf("%d", before == NULL);
    snap_ready();
    struct passwd *root = getpwnam("root"), *me = getpwuid(getuid());
    struct group *group = getgrgid(0);
    printf(" %s %s %s %s\n", root->pw_name, root->pw_dir, me ? "known" : "unknown", group->gr_name);
    printf("%d\n", getpwnam("there-is-no-such-user") == NULL);
    return 0;
}
