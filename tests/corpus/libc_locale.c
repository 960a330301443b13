//! variants: O2,static
//! snap-env: LC_ALL=C.UTF-8
//! run: | | | 0
#include <ctype.h>
#include <langinfo.h>
#include <locale.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

int main(void) {
    setlocale(LC_ALL, "C.UTF-8");
    locale_t own = newlocale(LC_ALL_MASK, "C", NULL);
    snap_ready();
    wchar_t wide[32];
    size_t n = mbstowcs(wide, "na\xc3\xafve \xe4\xbd\xa0", 32);
    printf("%s %zu %d\n", nl_langinfo(CODESET), n, wcwidth(L'\u4f60'));
    printf("%d %d\n", strcoll("a", "B") > 0, toupper_l('x', own));
    uselocale(own);
    printf("%s %.2f\n", nl_langinfo(CODESET), 1.5);
    uselocale(LC_GLOBAL_LOCALE);
    freelocale(own);
    return 0;
}
