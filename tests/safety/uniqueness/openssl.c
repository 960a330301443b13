/* OpenSSL's generators, both of them in use before the snapshot. */
#include <openssl/rand.h>
#include <snap.h>
#include <stdio.h>
#include <unistd.h>

static void draw(const char *name, int (*from)(unsigned char *, int)) {
    unsigned char bytes[16];
    if (from(bytes, sizeof bytes) != 1) _exit(2);
    printf("%s ", name);
    for (unsigned i = 0; i < sizeof bytes; i++) printf("%02x", bytes[i]);
    puts("");
}

int main(void) {
    unsigned char bytes[32];
    for (int i = 0; i < 5; i++)
        if (RAND_bytes(bytes, sizeof bytes) != 1 || RAND_priv_bytes(bytes, sizeof bytes) != 1) return 2;
    snap_ready();
    draw("public", RAND_bytes);
    draw("private", RAND_priv_bytes);
    return 0;
}
