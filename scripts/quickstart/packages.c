/* packages NAME|/PATH…: what Debian's package database says about a package, or which package a file belongs to.
 *
 * An ordinary start reads and sorts the whole database first. That is what the snapshot saves.
 */
#include <dirent.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATABASE "/var/lib/dpkg/"

struct package {
    char *name, *version, *depends;
    long size;
};
struct file {
    char *path, *package;
};

static struct package *packages;
static struct file *files;
static size_t package_count, file_count;
static char line[1 << 20];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Room for one more element; the array doubles when it is full. */
static void *grow(void *array, size_t count, size_t size) {
    if (count & (count - 1)) return array;
    void *grown = realloc(array, (count ? 2 * count : 1) * size);
    if (!grown) fail("memory");
    return grown;
}

/* Both structures begin with the name that they are found by. */
static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int next_line(FILE *file) {
    if (!fgets(line, sizeof line, file)) return 0;
    line[strcspn(line, "\n")] = 0;
    return 1;
}

/* The text of the field, if this is its line. */
static char *field(const char *name) {
    size_t length = strlen(name);
    return strncmp(line, name, length) ? NULL : strdup(line + length);
}

static void read_packages(void) {
    FILE *status = fopen(DATABASE "status", "r");
    if (!status) fail(DATABASE "status");
    struct package *now = NULL;
    while (next_line(status)) {
        char *text;
        if ((text = field("Package: "))) {
            packages = grow(packages, package_count, sizeof *packages);
            now = &packages[package_count++];
            *now = (struct package){.name = text, .version = "?", .depends = ""};
        } else if (now && (text = field("Version: "))) {
            now->version = text;
        } else if (now && (text = field("Depends: "))) {
            now->depends = text;
        } else if (now && (text = field("Installed-Size: "))) {
            now->size = atol(text);
        }
    }
    fclose(status);
    qsort(packages, package_count, sizeof *packages, by_name);
}

/* info/PACKAGE.list and info/PACKAGE:ARCHITECTURE.list name the files of a package. */
static void read_files(void) {
    DIR *info = opendir(DATABASE "info");
    if (!info) fail(DATABASE "info");
    for (struct dirent *entry; (entry = readdir(info));) {
        char *end = strrchr(entry->d_name, '.'), path[512];
        if (!end || strcmp(end, ".list")) continue;
        snprintf(path, sizeof path, DATABASE "info/%s", entry->d_name);
        FILE *list = fopen(path, "r");
        if (!list) fail(path);
        *end = 0;
        char *package = strndup(entry->d_name, strcspn(entry->d_name, ":"));
        while (next_line(list)) {
            files = grow(files, file_count, sizeof *files);
            files[file_count++] = (struct file){strdup(line), package};
        }
        fclose(list);
    }
    closedir(info);
    qsort(files, file_count, sizeof *files, by_name);
}

/* Whether `name` is one of the names of a Depends field. */
static int depends_on(const char *depends, const char *name) {
    size_t length = strlen(name);
    for (const char *at = depends; (at = strstr(at, name)); at += length)
        if ((at == depends || strchr(" |,", at[-1])) && (!at[length] || strchr(" :,|(", at[length]))) return 1;
    return 0;
}

static int answer(char *name) {
    struct file *file = *name == '/' ? bsearch(&name, files, file_count, sizeof *files, by_name) : NULL;
    char *wanted = file ? file->package : name;
    struct package *package = bsearch(&wanted, packages, package_count, sizeof *packages, by_name);
    if (!package) {
        fprintf(stderr, "%s: not among %zu packages and %zu files\n", name, package_count, file_count);
        return 1;
    }
    size_t users = 0;
    for (size_t i = 0; i < package_count; i++) users += (size_t)depends_on(packages[i].depends, package->name);
    if (file) printf("%s is of ", name);
    printf("%s %s, %ld KiB; %zu packages depend on it\n", package->name, package->version, package->size, users);
    return 0;
}

int main(int argc, char **argv) {
    read_packages();
    read_files();
    if (snap_ready()) { /* 1 in every instance; its arguments are its own */
        argc = (int)snap_argc();
        argv = snap_argv();
    }
    int status = 0;
    for (int i = 1; i < argc; i++) status |= answer(argv[i]);
    return status;
}
