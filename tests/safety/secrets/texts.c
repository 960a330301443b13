/* Holds texts that share something with secret values, and copies of the values. */
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    const char *texts[] = {
        "0123456789", "0123456789abcdef", "Password1234 is weak", "2024-01-01T00:00:00", "MyPassword123",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    };
    const char *names[] = {"API_TOKEN", "DB_PASSWORD", "APP_SECRET", "APP_CREDENTIALS"};
    char *kept[6], *copies[4];
    for (int i = 0; i < 6; i++) kept[i] = strdup(texts[i]);
    for (int i = 0; i < 4; i++) copies[i] = strdup(getenv(names[i]));
    snap_ready();
    for (int i = 0; i < 6; i++) if (strcmp(kept[i], texts[i])) return 10 + i;
    for (int i = 0; i < 4; i++) printf("%d", copies[i][0]);
    return puts(""), 0;
}
