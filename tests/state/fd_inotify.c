/* Inotify: watches keep their numbers, masks and files. */
#include "fd_check.h"
#include <sys/inotify.h>

int main(void) {
    char buffer[4096];
    struct inotify_event *event = (void *)buffer;
    mkdir("watched", 0700);
    int made = open("watched/file", O_CREAT | O_RDWR, 0600);
    CHECK(made >= 0);
    int group = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), empty = inotify_init1(IN_NONBLOCK);
    int gone = inotify_add_watch(group, "/", IN_DELETE_SELF), dir = inotify_add_watch(group, "watched", IN_CREATE | IN_DELETE);
    CHECK(gone == 1 && dir == 2 && inotify_rm_watch(group, gone) == 0);
    int file = inotify_add_watch(group, "watched/file", IN_MODIFY);
    CHECK(file == 3 && read(group, buffer, sizeof buffer) > 0 && empty >= 0);

    snap_ready();

    CHECK(cloexec(group) && read(group, buffer, sizeof buffer) == -1 && errno == EAGAIN);
    CHECK(write(made, "x", 1) == 1 && read(group, buffer, sizeof buffer) > 0);
    CHECK(event->wd == file && event->mask == IN_MODIFY);
    int created = open("watched/new", O_CREAT | O_RDWR, 0600);
    CHECK(created >= 0 && read(group, buffer, sizeof buffer) > 0 && event->wd == dir && event->mask == IN_CREATE);
    CHECK(unlink("watched/new") == 0 && !strcmp(event->name, "new"));
    CHECK(inotify_add_watch(group, ".", IN_CREATE) == 4);
    CHECK(read(empty, buffer, sizeof buffer) == -1 && errno == EAGAIN);
    puts("ok");
    return 0;
}
