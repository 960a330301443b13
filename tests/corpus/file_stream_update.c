//! input: data.txt one two three four five\n
//! files: data.txt
//! run: | | | 0
#include <snap.h>
#include <stdio.h>

/* A stream that reads and writes, with its buffer and position across the snapshot. */
int main(void) {
    FILE *f = fopen("data.txt", "r+");
    char word[16];
    fscanf(f, "%15s", word);
    snap_ready();
    fscanf(f, "%15s", word);
    printf("%s\n", word);
    fseek(f, 0, SEEK_CUR);
    fputs("-CHANGED-", f);
    fseek(f, 0, SEEK_SET);
    char line[64];
    printf("%s", fgets(line, sizeof line, f));
    return fclose(f);
}
