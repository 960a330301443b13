/* Attributes that a process may change without rights: limits, prctl settings, personality, directories, scores. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif

static long number_in(const char *path) {
    char text[64] = "";
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return strtol(text, NULL, strstr(path, "filter") ? 16 : 10);
}

static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static int pdeathsig(void) {
    int signo = -1;
    CHECK(prctl(PR_GET_PDEATHSIG, &signo) == 0);
    return signo;
}

static int subreaper(void) {
    int flag = -1;
    CHECK(prctl(PR_GET_CHILD_SUBREAPER, &flag) == 0);
    return flag;
}

int main(void) {
    struct rlimit files = {123, 456}, cores = {0, 1 << 20}, limit;
    char cwd[64], name[16];
    int mdwe, filter;
    CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
    CHECK(setrlimit(RLIMIT_CORE, &cores) == 0);
    CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    CHECK(prctl(PR_SET_KEEPCAPS, 1) == 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0);
    CHECK(prctl(PR_SET_NAME, "another name") == 0);
    mdwe = prctl(PR_SET_MDWE, 1, 0, 0, 0) == 0; /* since Linux 6.3 */
    CHECK(personality(ADDR_NO_RANDOMIZE) != -1);
    put("/proc/self/oom_score_adj", "321");
    filter = access("/proc/self/coredump_filter", W_OK) == 0;
    if (filter) put("/proc/self/coredump_filter", "0x11");
    CHECK(chdir("/proc") == 0);
    umask(031);
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);

    snap_ready();

    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(limit.rlim_cur == files.rlim_cur && limit.rlim_max == files.rlim_max);
    CHECK(getrlimit(RLIMIT_CORE, &limit) == 0);
    CHECK(limit.rlim_cur == cores.rlim_cur && limit.rlim_max == cores.rlim_max);
    EQUAL(pdeathsig(), SIGUSR1);
    EQUAL(subreaper(), 1);
    EQUAL(prctl(PR_GET_KEEPCAPS), 1);
    EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    EQUAL(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
    EQUAL(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_EARLY);
    EQUAL(prctl(PR_GET_DUMPABLE), 0);
    if (mdwe) EQUAL(prctl(PR_GET_MDWE, 0, 0, 0, 0), 1);
    CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "another name") == 0);
    CHECK(prctl(PR_SET_DUMPABLE, 1) == 0); /* or /proc/self is not ours to read */
    EQUAL(personality(0xffffffff), ADDR_NO_RANDOMIZE);
    EQUAL(number_in("/proc/self/oom_score_adj"), 321);
    if (filter) EQUAL(number_in("/proc/self/coredump_filter"), 0x11);
    CHECK(getcwd(cwd, sizeof cwd) != NULL && strcmp(cwd, "/proc") == 0);
    EQUAL(umask(0), 031);
    puts("ok");
    return 0;
}
