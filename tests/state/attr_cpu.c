/* Settings of the CPU that prctl changed for this thread: the time stamp counter, and speculation. */
#define _GNU_SOURCE
#include <sys/prctl.h>
#include "check.h"

int main(void) {
    int counter = 0, has_counter, speculation;
    has_counter = prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0;
    speculation = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
    if (speculation == (PR_SPEC_PRCTL | PR_SPEC_ENABLE))
        CHECK(prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0) == 0);
    speculation = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);

    snap_ready();

    if (has_counter) CHECK(prctl(PR_GET_TSC, &counter) == 0 && prctl(PR_SET_TSC, PR_TSC_ENABLE) == 0);
    if (has_counter) EQUAL(counter, PR_TSC_SIGSEGV);
    EQUAL(prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0), speculation);
    puts("ok");
    return 0;
}
