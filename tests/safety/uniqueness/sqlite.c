/* Draws from SQLite before the point, and seeds it anew by a hook. */
#include <snap.h>
#include <sqlite3.h>
#include <stdio.h>
static int draw(void *name, int columns, char **values, char **names) {
    (void)columns, (void)names;
    if (name) printf("%s %s\n", (char *)name, values[0]);
    return 0;
}
static void reseed(void *arg) {
    (void)arg;
    sqlite3_randomness(0, NULL);
}
int main(void) {
    sqlite3 *database;
    sqlite3_open(":memory:", &database);
    sqlite3_exec(database, "SELECT random()", draw, NULL, NULL);
    snap_on_restore(reseed, NULL);
    snap_ready();
    sqlite3_exec(database, "SELECT hex(randomblob(8))", draw, "randomblob", NULL);
    return 0;
}
