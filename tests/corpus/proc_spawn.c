//! variants: O2,static
//! run: | | | 0
#include <snap.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* File actions prepared before the snapshot are used after it. */
int main(void) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    snap_ready();
    char *argv[] = {"sh", "-c", "echo to stderr >&2", NULL};
    pid_t pid;
    int status, error = posix_spawnp(&pid, "sh", &actions, NULL, argv, environ);
    waitpid(pid, &status, 0);
    printf("%d %d\n", error, status);
    return 0;
}
