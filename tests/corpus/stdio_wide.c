//! variants: O2,static
//! run: | w\n | | 0
#include <locale.h>
#include <snap.h>
#include <stdio.h>
#include <wchar.h>
#include <wctype.h>

int main(void) {
    int known = setlocale(LC_ALL, "C.UTF-8") != NULL;
    fwide(stderr, 1);
    snap_ready();
    fwprintf(stderr, L"wide %lc %ls %d\n", L'\u00e9', L"\u4f60\u597d", 7);
    wint_t c = getwc(stdin);
    fwprintf(stderr, L"%lc\n", towupper(c));
    printf("%d\n", known);
    return 0;
}
