/* State that the kernel and the C library keep of a process. */
#include <fenv.h>
#include <limits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

static int make_file_mask(struct step *step) {
    (void)step;
    /* The owner keeps all rights, since later steps use the files that they make. */
    umask(below(0100));
    return 1;
}

static void look_file_mask(struct step *step) {
    (void)step;
    mode_t mask = umask(0);
    umask(mask);
    note("%o", mask);
}

static const struct kind file_mask = {"umask", 1, 0, make_file_mask, look_file_mask, NULL};

/* This is the last step that uses relative names: it goes to a directory in which the earlier names do not exist. */
static int make_working_directory(struct step *step) {
    snprintf(step->path, sizeof step->path, "directory%u", count);
    return count == 0 && mkdir(step->path, 0777) == 0 && chdir(step->path) == 0;
}

static void look_working_directory(struct step *step) {
    char path[PATH_MAX];
    (void)step;
    note("%s", strrchr(getcwd(path, sizeof path) ? path : "/none", '/'));
}

static const struct kind working_directory = {"working directory", 1, 0, make_working_directory, look_working_directory, NULL};

static const int attributes[][3] = {
    /* set, get by a pointer, get by the result */
    {PR_SET_TIMERSLACK, 0, PR_GET_TIMERSLACK}, {PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER, 0},
    {PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, 0}, {PR_SET_NO_NEW_PRIVS, 0, PR_GET_NO_NEW_PRIVS},
    {PR_SET_THP_DISABLE, 0, PR_GET_THP_DISABLE}, {PR_SET_TSC, PR_GET_TSC, 0},
};

static int make_process_name(struct step *step) {
    char name[16];
    snprintf(name, sizeof name, "name %u", below(100000));
    prctl(PR_SET_NAME, name);
    step->a = below(sizeof attributes / sizeof *attributes);
    unsigned long value = attributes[step->a][0] == PR_SET_TIMERSLACK ? 1 + below(1000000) : 1;
    return prctl(attributes[step->a][0], value, 0, 0, 0) == 0;
}

static void look_process_name(struct step *step) {
    char name[17] = "";
    int value = 0;
    prctl(PR_GET_NAME, name);
    const int *attribute = attributes[step->a];
    long got = attribute[1] ? prctl(attribute[1], &value, 0, 0, 0) : prctl(attribute[2], 0, 0, 0, 0);
    note("%s, attribute %d: %ld %d", name, attribute[0], got, value);
}

static const struct kind process_name = {"attributes", 1, 0, make_process_name, look_process_name, NULL};

static int make_limit(struct step *step) {
    static const int resources[] = {RLIMIT_CORE, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_RSS, RLIMIT_NPROC};
    struct rlimit limit;
    step->a = PICK(resources);
    if (getrlimit((unsigned)step->a, &limit)) return 0;
    unsigned long low = step->a == RLIMIT_DATA ? 1ul << 40 : 1ul << 24;
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < low) return 0;
    limit.rlim_cur = low + below(4096);
    return (limit.rlim_max == RLIM_INFINITY || limit.rlim_cur <= limit.rlim_max) && setrlimit((unsigned)step->a, &limit) == 0;
}

static void look_limit(struct step *step) {
    struct rlimit limit = {0, 0};
    getrlimit((unsigned)step->a, &limit);
    note("%ld: %lu %lu", step->a, (unsigned long)limit.rlim_cur, (unsigned long)limit.rlim_max);
}

static const struct kind limit = {"limit", 0, 0, make_limit, look_limit, NULL};

static volatile int handled[65];

static void on_signal(int number) {
    handled[number]++;
}

static void on_signal_info(int number, siginfo_t *info, void *context) {
    (void)context;
    handled[number] += 100 + info->si_code;
}

/* A signal that no other step has. All threads block these from the start. */
static int own_signal(void) {
    static int taken;
    return taken < 12 ? SIGRTMIN + taken++ : 0;
}

static void block_own_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < 12; i++) sigaddset(&set, SIGRTMIN + i);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static int make_disposition(struct step *step) {
    static const int flags[] = {0, SA_RESTART, SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_SIGINFO, SA_SIGINFO | SA_RESTART};
    struct sigaction action = {.sa_flags = PICK(flags)};
    step->a = own_signal();
    if (!step->a) return 0;
    if (action.sa_flags & SA_SIGINFO) action.sa_sigaction = on_signal_info;
    else action.sa_handler = one_in(3) ? SIG_IGN : on_signal;
    for (int i = 0; i < 3; i++) sigaddset(&action.sa_mask, 1 + (int)below(30));
    return sigaction((int)step->a, &action, NULL) == 0;
}

static void look_disposition(struct step *step) {
    struct sigaction action;
    sigaction((int)step->a, NULL, &action);
    note("%ld: flags %x mask %lx %s", step->a, action.sa_flags, *(unsigned long *)&action.sa_mask,
         action.sa_handler == SIG_IGN ? "ignored" : action.sa_handler == SIG_DFL ? "default" : "handled");
}

static void use_disposition(struct step *step) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, (int)step->a);
    raise((int)step->a);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    printf(" %d", handled[step->a]);
}

static const struct kind disposition = {"disposition", 0, 0, make_disposition, look_disposition, use_disposition};

static int make_blocked_signal(struct step *step) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < 4; i++) sigaddset(&set, SIGRTMIN + 20 + (int)below(8));
    return step->a = 1, sigprocmask(SIG_BLOCK, &set, NULL) == 0;
}

static void look_blocked_signal(struct step *step) {
    sigset_t set;
    (void)step;
    sigprocmask(SIG_BLOCK, NULL, &set);
    note("%lx", *(unsigned long *)&set);
}

static const struct kind blocked_signal = {"signal mask", 0, 0, make_blocked_signal, look_blocked_signal, NULL};

static int make_pending_signal(struct step *step) {
    step->a = own_signal();
    if (!step->a) return 0;
    step->b = 1 + below(3);
    for (int i = 0; i < step->b; i++) {
        union sigval value = {.sival_int = (int)below(100000)};
        if (one_in(2)) sigqueue(getpid(), (int)step->a, value);
        else raise((int)step->a);
    }
    return 1;
}

static void look_pending_signal(struct step *step) {
    sigset_t set;
    sigpending(&set);
    note("%ld: %d", step->a, sigismember(&set, (int)step->a));
}

static void use_pending_signal(struct step *step) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, (int)step->a);
    for (;;) {
        siginfo_t info = {0};
        int got = sigtimedwait(&set, &info, &(struct timespec){0, 0});
        if (got < 0) break;
        printf(" %d code %d value %d", got, info.si_code, info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
    }
}

static const struct kind pending_signal = {"pending signal", 0, 0, make_pending_signal, look_pending_signal, use_pending_signal};

static int make_alternate_stack(struct step *step) {
    stack_t stack = {.ss_size = 16384 + below(4) * 4096};
    stack.ss_sp = step->at = malloc(stack.ss_size);
    return sigaltstack(&stack, NULL) == 0;
}

static void look_alternate_stack(struct step *step) {
    stack_t stack;
    sigaltstack(NULL, &stack);
    note("the same %d, size %zu flags %x", stack.ss_sp == step->at, stack.ss_size, stack.ss_flags);
}

static const struct kind alternate_stack = {"alternate stack", 1, 0, make_alternate_stack, look_alternate_stack, NULL};

static int make_interval_timer(struct step *step) {
    static const int timers[] = {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF};
    step->a = PICK(timers);
    step->b = 10000 + below(100000);
    struct itimerval when = {{one_in(2) ? below(1000) : 0, 0}, {step->b, 0}};
    return setitimer((int)step->a, &when, NULL) == 0;
}

static void look_interval_timer(struct step *step) {
    struct itimerval when;
    getitimer((int)step->a, &when);
    long gone = step->b - when.it_value.tv_sec;
    note("every %ld, about the time that was set: %d", (long)when.it_interval.tv_sec, gone >= 0 && gone < 120);
}

static const struct kind interval_timer = {"interval timer", 1, 0, make_interval_timer, look_interval_timer, NULL};

static int make_posix_timer(struct step *step) {
    static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
    struct sigevent event = {.sigev_notify = one_in(2) ? SIGEV_NONE : SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 20};
    timer_t timer;
    if (timer_create(PICK(clocks), &event, &timer)) return 0;
    step->at = timer;
    step->b = 10000 + below(100000);
    struct itimerspec when = {{one_in(2) ? below(1000) : 0, 0}, {step->b, 0}};
    return timer_settime(timer, 0, &when, NULL) == 0;
}

static void look_posix_timer(struct step *step) {
    struct itimerspec when = {0};
    int result = timer_gettime(step->at, &when);
    long gone = step->b - when.it_value.tv_sec;
    note("%d every %ld, about the time that was set: %d, overruns %d", result, (long)when.it_interval.tv_sec,
         gone >= 0 && gone < 120, timer_getoverrun(step->at));
}

static void use_posix_timer(struct step *step) {
    printf(" %d", timer_delete(step->at));
}

static const struct kind posix_timer = {"POSIX timer", 0, 0, make_posix_timer, look_posix_timer, use_posix_timer};

static int make_niceness(struct step *step) {
    return step->a = 1, setpriority(PRIO_PROCESS, 0, 1 + (int)below(18)) == 0;
}

static void look_niceness(struct step *step) {
    (void)step;
    note("%d", getpriority(PRIO_PROCESS, 0));
}

static const struct kind niceness = {"priority", 1, 0, make_niceness, look_niceness, NULL};

static int make_environment(struct step *step) {
    char name[32], value[64];
    snprintf(name, sizeof name, "VARIABLE_%u", below(20));
    snprintf(value, sizeof value, "value %lx", (unsigned long)next());
    snprintf(step->path, sizeof step->path, "%s", name);
    return one_in(4) ? unsetenv(name) == 0 : setenv(name, value, 1) == 0;
}

static void look_environment(struct step *step) {
    note("%s=%s", step->path, getenv(step->path) ? getenv(step->path) : "(none)");
}

static const struct kind environment = {"environment", 0, 0, make_environment, look_environment, NULL};

static int make_random_numbers(struct step *step) {
    srandom((unsigned)next());
    for (unsigned i = below(100); i > 0; i--) random();
    return step->a = 1, 1;
}

static void use_random_numbers(struct step *step) {
    (void)step;
    printf(" %ld %ld", random(), random());
}

static const struct kind random_numbers = {"random()", 1, 0, make_random_numbers, NULL, use_random_numbers};

static int make_rounding(struct step *step) {
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
    step->a = PICK(modes);
    return fesetround((int)step->a) == 0;
}

static void look_rounding(struct step *step) {
    volatile double one = 1, three = 3;
    (void)step;
    note("mode %d, %a %a", fegetround(), one / three, -one / three);
}

static const struct kind rounding = {"rounding", 1, 0, make_rounding, look_rounding, NULL};
