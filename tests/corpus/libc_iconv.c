//! variants: O2
//! run: | | | 0
#include <iconv.h>
#include <snap.h>
#include <stdio.h>
#include <string.h>

/* Conversion modules that are loaded before and after the snapshot. */
static void convert(iconv_t cd, char *in, size_t n) {
    unsigned char out[64];
    char *to = (char *)out;
    size_t left = sizeof out;
    size_t bad = iconv(cd, &in, &n, &to, &left);
    for (size_t i = 0; i < sizeof out - left; i++) printf("%02x", out[i]);
    printf(" %zd\n", (ssize_t)bad);
}

int main(void) {
    iconv_t latin = iconv_open("ISO-8859-15", "UTF-8");
    if (latin == (iconv_t)-1) return 1;
    snap_ready();
    convert(latin, "caf\xc3\xa9 \xe2\x82\xac", 9);
    iconv_t utf16 = iconv_open("UTF-16BE", "ISO-8859-2");
    if (utf16 == (iconv_t)-1) return 2;
    convert(utf16, "\xb1\xe6", 2);
    iconv_close(utf16);
    iconv_close(latin);
    return 0;
}
