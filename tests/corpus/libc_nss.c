//! variants: O2,musl-static
//! run: | | | 0
#include <grp.h>
#include <pwd.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

/* Name services, used before and after. */
int main(void) {
    int before = getpwuid(0) != NULL;
    snap_ready();
    struct passwd *root = getpwnam("root");
    printf("%d %s %s\n", before, root->pw_name, root->pw_dir);
    struct group *group = getgrgid(0);
    printf("%s %d %d\n", group->gr_name, getpwuid(getuid()) != NULL, getpwnam("there-is-no-such-user") == NULL);
    return 0;
}
