/* packages NAME…: what Debian's package database says about a package, and which packages depend on it.
 *
 * An ordinary start reads and sorts the whole database first. That is what the snapshot saves.
 */
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct package {
    char *name, *version, *depends;
    long size;
};

static struct package *packages;
static size_t count;

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct package *)a)->name, ((const struct package *)b)->name);
}

/* The text of the field, if this is its line. */
static char *field(char *line, const char *name) {
    size_t length = strlen(name);
    return strncmp(line, name, length) ? NULL : strdup(line + length);
}

static void read_database(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(1);
    }
    static char line[1 << 20];
    size_t room = 0;
    struct package *now = NULL;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *text;
        if ((text = field(line, "Package: "))) {
            if (count == room && !(packages = realloc(packages, (room = room ? 2 * room : 256) * sizeof *packages))) {
                perror(path);
                exit(1);
            }
            now = &packages[count++];
            *now = (struct package){.name = text, .version = "?", .depends = ""};
        } else if (now && (text = field(line, "Version: "))) {
            now->version = text;
        } else if (now && (text = field(line, "Depends: "))) {
            now->depends = text;
        } else if (now && (text = field(line, "Installed-Size: "))) {
            now->size = atol(text);
        }
    }
    fclose(file);
    qsort(packages, count, sizeof *packages, by_name);
}

/* Whether `name` is one of the names of a Depends field. */
static int depends_on(const char *depends, const char *name) {
    size_t length = strlen(name);
    for (const char *at = depends; (at = strstr(at, name)); at += length)
        if ((at == depends || strchr(" |,", at[-1])) && (!at[length] || strchr(" :,|(", at[length]))) return 1;
    return 0;
}

int main(int argc, char **argv) {
    read_database("/var/lib/dpkg/status");
    if (snap_ready()) { /* 1 in every instance; its arguments are its own */
        argc = (int)snap_argc();
        argv = snap_argv();
    }
    int status = 0;
    for (int i = 1; i < argc; i++) {
        struct package key = {.name = argv[i]};
        struct package *found = bsearch(&key, packages, count, sizeof *packages, by_name);
        if (!found) {
            fprintf(stderr, "%s: not among the %zu packages\n", argv[i], count);
            status = 1;
            continue;
        }
        size_t users = 0;
        for (size_t k = 0; k < count; k++) users += (size_t)depends_on(packages[k].depends, found->name);
        printf("%s %s: %ld KiB, %zu packages depend on it\n", found->name, found->version, found->size, users);
    }
    return status;
}
