//! at: main,ready
//! variants: O2,static
//! create: --once
//! exported: yes
//! files: built
//! run: a 'b c' | | WHO=me | 7
//! run: | | | 7
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* 16 MiB of nodes with pointers, also from and to .data and .bss. The file counts how often they are built. */
struct node {
    struct node *next;
    const char *name;
    unsigned long value;
    unsigned char content[224];
};
static struct node *first, *slots[1000];
static const char *names[3] = {"constant", NULL, NULL};
static char text[20000];

__attribute__((constructor)) static void build(void) {
    FILE *count = fopen("built", "a");
    if (!count || fputs("built\n", count) < 0 || fclose(count)) abort();
    names[1] = strdup("heap");
    names[2] = strcpy(text + 5000, "bss");
    unsigned long seed = 12345;
    for (int i = 0; i < 65536; i++) {
        struct node *node = malloc(sizeof *node);
        seed = seed * 6364136223846793005ul + 1442695040888963407ul;
        node->next = first, node->name = names[i % 3], node->value = seed >> 33;
        for (unsigned at = 0; at < sizeof node->content; at++) node->content[at] = (unsigned char)(seed >> at % 56);
        first = slots[i % 1000] = node;
    }
}

int main(int argc, char **argv) {
    if (snap_ready()) argc = (int)snap_argc(), argv = snap_argv();
    unsigned long sum = 0;
    for (struct node *node = first; node; node = node->next) {
        sum = sum * 31 + node->value + (unsigned char)node->name[0];
        for (unsigned at = 0; at < sizeof node->content; at++) sum += node->content[at];
    }
    for (int i = 0; i < 1000; i++) sum ^= slots[i]->value << i % 20;
    printf("%lu %s %s %s, %s:", sum, names[0], names[1], names[2], getenv("WHO") ? getenv("WHO") : "nobody");
    for (int i = 1; i < argc; i++) printf(" [%s]", argv[i]);
    puts("");
    for (struct node *node = first, *next; node; node = next) next = node->next, free(node);
    struct timespec now;
    return clock_gettime(CLOCK_MONOTONIC, &now) == 0 && now.tv_sec > 0 ? 7 : 1;
}
