/* Holds the one thing that its argument names and that no instance can have, calls snap_ready(), checks that it still
 * has it, and says so in the file `went-on`. What this machine has not got is said there, too: "missing". */
#include "fd_check.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static int is_missing;
static char *page;
static int fd = -1, other = -1;
static pid_t process;

static void missing(void) {
    is_missing = 1;
}

static void map(int flags, int from) {
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, from, 0);
    if (page == MAP_FAILED) page = NULL, missing();
}

/* --- descriptors --- */

static void connected(int family, int type) {
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    socklen_t len = sizeof address;
    if (family == AF_INET) ((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else ((struct sockaddr_in6 *)&address)->sin6_addr = in6addr_loopback;
    other = socket(family, type, 0);
    fd = socket(family, type, 0);
    if (other < 0 || bind(other, (struct sockaddr *)&address, sizeof address) != 0) {
        missing();
        return;
    }
    if (type == SOCK_STREAM) CHECK(listen(other, 1) == 0);
    CHECK(getsockname(other, (struct sockaddr *)&address, &len) == 0);
    CHECK(connect(fd, (struct sockaddr *)&address, len) == 0);
    if (type == SOCK_STREAM) CHECK((other = accept(other, NULL, NULL)) >= 0);
}

static void talk(void) {
    char byte = 'x';
    CHECK(write(fd, &byte, 1) == 1 && read(other, &byte, 1) == 1);
}

static void tcp(void) { connected(AF_INET, SOCK_STREAM); }
static void tcp6(void) { connected(AF_INET6, SOCK_STREAM); }

static void open_or_missing(long result) {
    if ((fd = (int)result) < 0) missing();
}

static void io_uring(void) {
    char params[256] = {0};
    open_or_missing(syscall(425, 4, params));
}

static void io_uring_mapped(void) {
    io_uring();
    if (fd >= 0) {
        map(MAP_SHARED, fd);
        close(fd);
        fd = -1;
    }
}

static unsigned long context;

static void aio(void) {
    if (syscall(SYS_io_setup, 4, &context) != 0) missing();
}

static void end_aio(void) {
    CHECK(syscall(SYS_io_destroy, context) == 0);
}

static void userfaultfd(void) {
    open_or_missing(syscall(323, 1 /* UFFD_USER_MODE_ONLY */));
}

static void userfault_memory(void) {
    struct { uint64_t api, features, ioctls; } api = {0xaa, 0, 0};
    struct { uint64_t start, len, mode, ioctls; } range = {0, 4096, 1, 0};
    userfaultfd();
    if (fd < 0) return;
    map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    range.start = (uint64_t)(uintptr_t)page;
    CHECK(ioctl(fd, 0xc018aa3f, &api) == 0 && ioctl(fd, 0xc020aa00, &range) == 0);
    page = NULL;
}

static void perf(void) {
    uint32_t attr[32] = {1 /* software */, sizeof attr, 1 /* task clock */, 0, [10] = 0x61 /* disabled, user only */};
    open_or_missing(syscall(298, attr, 0, -1, -1, 0));
}

static void bpf(void) {
    uint32_t array[18] = {2 /* BPF_MAP_TYPE_ARRAY */, 4, 4, 1};
    open_or_missing(syscall(321, 0 /* BPF_MAP_CREATE */, array, sizeof array));
}

static void landlock(void) {
    uint64_t handled = 1;
    open_or_missing(syscall(444, &handled, sizeof handled, 0));
}

static void fanotify(void) { open_or_missing(syscall(300, 0x200 /* FAN_REPORT_FID */, O_RDONLY)); }
static void netlink(void) { open_or_missing(socket(AF_NETLINK, SOCK_RAW, 15 /* NETLINK_KOBJECT_UEVENT */)); }
static void crypto(void) { open_or_missing(socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0)); }
static void vsock(void) { open_or_missing(socket(40 /* AF_VSOCK */, SOCK_STREAM, 0)); }
static void packet(void) { open_or_missing(socket(17 /* AF_PACKET */, SOCK_RAW, 0)); }
static void kvm(void) { open_or_missing(open("/dev/kvm", O_RDWR)); }
static void device(void) { open_or_missing(open("/dev/fuse", O_RDWR)); }
static void secret(void) { open_or_missing(syscall(447, 0)); }
static void pidfd(void) { open_or_missing(syscall(434, 1, 0)); }

static void queue(void) {
    open_or_missing(syscall(240 /* mq_open */, "snapfn-refused", O_RDWR | O_CREAT, 0600, NULL));
    if (fd >= 0) CHECK(syscall(241 /* mq_unlink */, "snapfn-refused") == 0);
}

static void waiting_connection(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    other = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(other, (struct sockaddr *)&in, sizeof in) == 0 && listen(other, 1) == 0);
    CHECK(getsockname(other, (struct sockaddr *)&in, &len) == 0);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr *)&in, len) == 0);
    close(fd);
    fd = -1;
}

static void waiting_datagram(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&in, sizeof in) == 0 && getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    other = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(sendto(other, "d", 1, 0, (struct sockaddr *)&in, len) == 1);
    close(other);
}

static void read_datagram(void) {
    char byte = 0;
    CHECK(recv(fd, &byte, 1, 0) == 1 && byte == 'd');
}

static void unread_inotify(void) {
    unlink("created");
    fd = inotify_init1(IN_NONBLOCK);
    CHECK(fd >= 0 && inotify_add_watch(fd, ".", IN_CREATE) >= 0);
    CHECK((other = open("created", O_CREAT | O_RDWR, 0600)) >= 0);
    close(other);
}

static void read_inotify(void) {
    char events[512];
    CHECK(read(fd, events, sizeof events) > 0);
}

static void unread_terminal(void) {
    char name[64];
    fd = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(fd >= 0 && grantpt(fd) == 0 && unlockpt(fd) == 0 && ptsname_r(fd, name, sizeof name) == 0);
    CHECK((other = open(name, O_RDWR | O_NOCTTY)) >= 0 && write(fd, "line\n", 5) == 5);
}

static void read_terminal(void) {
    char line[16];
    CHECK(read(other, line, sizeof line) == 5);
}

static void deleted_with_another_name(void) {
    unlink("second");
    CHECK((fd = open("first", O_CREAT | O_RDWR | O_TRUNC, 0600)) >= 0);
    CHECK(link("first", "second") == 0 && unlink("first") == 0);
}

static void stale_epoll(void) {
    uint8_t event[12] = {1 /* EPOLLIN */};
    int ends[2];
    CHECK(pipe(ends) == 0 && (fd = (int)syscall(SYS_epoll_create1, 0)) >= 0);
    CHECK(syscall(SYS_epoll_ctl, fd, 1 /* EPOLL_CTL_ADD */, ends[0], event) == 0);
    CHECK(dup2(ends[0], 77) == 77 && close(ends[0]) == 0);
}

static void owner(void) {
    int ends[2];
    CHECK(pipe(ends) == 0 && fcntl(ends[0], F_SETOWN, 1) == 0);
}

/* Its signals come to the program itself; only where kcmp is forbidden is that an obstacle. */
static void owner_twin(void) {
    CHECK((fd = eventfd(0, 0)) >= 0 && eventfd(0, 0) >= 0 && fcntl(fd, F_SETOWN, getpid()) == 0);
}

/* Both ends are closed connections that nobody has closed. */
static void shut_down(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&in, sizeof in) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&in, &len) == 0);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr *)&in, sizeof in) == 0 && (other = accept(listener, NULL, NULL)) >= 0);
    CHECK(close(listener) == 0 && shutdown(fd, SHUT_WR) == 0 && shutdown(other, SHUT_WR) == 0);
}

static void at_end(void) {
    char byte;
    CHECK(read(fd, &byte, 1) == 0 && read(other, &byte, 1) == 0);
}

static void parent_file(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", getppid());
    CHECK((fd = open(path, O_RDONLY)) >= 0);
}

static void descriptor_file(void) {
    CHECK((fd = open("/proc/self/fdinfo/0", O_RDONLY)) >= 0);
}

static void no_right(void) {
    unlink("locked");
    CHECK((fd = open("locked", O_CREAT | O_RDWR, 0600)) >= 0 && fchmod(fd, 0) == 0);
}

/* --- memory --- */

static void guarded_data(void) {
    char *shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    shared[4097] = 'u';
    page = shared;
    if (madvise(shared + 4096, 4096, 102 /* MADV_GUARD_INSTALL */) != 0) missing();
}

static void data_is_there(void) {
    CHECK(madvise(page + 4096, 4096, 103 /* MADV_GUARD_REMOVE */) == 0 && page[4097] == 'u');
}

static void write_execute(void) {
    map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
}

static void hugetlb(void) {
    page = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
    if (page == MAP_FAILED) missing();
    page = NULL; /* there may be no huge page to touch */
}

static void system_v(void) {
    int id = shmget(IPC_PRIVATE, 4096, 0600);
    CHECK(id >= 0 && (page = shmat(id, NULL, 0)) != (void *)-1 && shmctl(id, IPC_RMID, NULL) == 0);
}

static void protection_key(void) {
    int key = (int)syscall(330, 0, 0);
    map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (key < 0 || syscall(329, page, 4096, PROT_READ | PROT_WRITE, key) != 0) missing();
}

static void sealed(void) {
    map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (syscall(462, page, 4096, 0) != 0) missing();
}


static void mapped_twice(void) {
    CHECK((fd = memfd_create("twice", 0)) >= 0 && ftruncate(fd, 4096) == 0);
    map(MAP_SHARED, fd);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
    close(fd);
    fd = -1;
}

/* --- the process --- */

static void filter(void) {
    /* Kills the process for calls that a snapshotter would have it make. */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sigaltstack, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getitimer, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) missing();
}

static void child(void) {
    CHECK((process = fork()) >= 0);
    if (process == 0) for (;;) pause();
}

/* Its name is no UTF-8: a long one is cut wherever its 15th byte is. */
static void named_child(void) {
    CHECK(prctl(PR_SET_NAME, "caf\xc3") == 0);
    child();
    CHECK(prctl(PR_SET_NAME, "refused") == 0);
}

static void end_child(void) {
    int status;
    CHECK(kill(process, 0) == 0 && kill(process, SIGKILL) == 0 && waitpid(process, &status, 0) == process);
}

static void no_dump(void) { CHECK(prctl(PR_SET_DUMPABLE, 0) == 0); }

/* Traces its grandchild, which is no child of its own any more. */
static void tracer(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t between = fork();
    if (between == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
            prctl(PR_SET_PDEATHSIG, 0);
            close(ends[0]);
            grandchild = getpid();
            if (write(ends[1], &grandchild, sizeof grandchild) < 0) _exit(1);
            close(ends[1]);
            for (;;) pause();
        }
        _exit(0);
    }
    CHECK(read(ends[0], &process, sizeof process) == sizeof process && waitpid(between, NULL, 0) == between);
    close(ends[0]);
    close(ends[1]);
    if (ptrace(PTRACE_SEIZE, process, 0, 0) != 0) missing();
}

static void end_tracee(void) {
    int status;
    CHECK(kill(process, SIGKILL) == 0);
    if (!is_missing) CHECK(waitpid(process, &status, __WALL) == process);
}

/* The group of a child that has ended since. */
static void other_group(void) {
    pid_t leader = fork();
    if (leader == 0) for (;;) pause();
    CHECK(leader > 0 && setpgid(leader, leader) == 0 && setpgid(0, leader) == 0);
    CHECK(kill(leader, SIGKILL) == 0 && waitpid(leader, NULL, 0) == leader);
}

static void memory_policy(void) {
    if (syscall(SYS_set_mempolicy, 4 /* MPOL_LOCAL */, NULL, 0) != 0) missing();
}

static void dispatch(void) {
    static char selector;
    if (prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, &selector) != 0) missing();
}

static void machine_state(int option, unsigned long value) {
    if (syscall(SYS_arch_prctl, option, value) != 0) missing();
}

static void cpuid(void) { machine_state(0x1012 /* ARCH_SET_CPUID */, 0); }
/* One tile of one row, loaded: the permission alone is restored. */
static void amx(void) {
    static char config[64] __attribute__((aligned(64))), data[64];
    machine_state(0x1023 /* ARCH_REQ_XCOMP_PERM */, 18);
    if (is_missing) return;
    config[0] = 1, config[16] = 64, config[48] = 1;
    data[0] = 1;
    __asm__ volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0x00" /* ldtilecfg (%rax) */ : : "a"(config) : "memory");
    __asm__ volatile(".byte 0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x11" /* tileloadd (%rcx,%rdx), %tmm0 */
                     : : "c"(data), "d"(0L) : "memory");
}
static void tagged(void) { machine_state(0x4002 /* ARCH_ENABLE_TAGGED_ADDR */, 6); }

/* --- what the kernel keeps and /proc does not tell --- */

static void ldt(void) {
    uint32_t segment[4] = {1, 0x1000, 0x777, 1 << 0 | 1 << 6 /* 32 bit, useable */};
    if (syscall(SYS_modify_ldt, 1, segment, sizeof segment) != 0) missing();
}

static void key_in(long keyring) {
    if (syscall(SYS_add_key, "user", "snapfn-test", "abc", 3L, keyring) < 0) missing();
}

static void thread_keyring(void) { key_in(-1); }
static void process_keyring(void) { key_in(-2); }

static void session_keyring(void) {
    if (syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL) < 0) missing();
}

/* Taken with SEM_UNDO and given back without, so the end would give it once more. */
static int set;

static void semaphore_undo(void) {
    struct sembuf down = {0, -1, SEM_UNDO}, up = {0, 1, 0};
    set = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
    if (set < 0) {
        missing();
        return;
    }
    CHECK(semop(set, &up, 1) == 0 && semop(set, &down, 1) == 0 && semop(set, &up, 1) == 0);
}

static void remove_set(void) {
    CHECK(semctl(set, 0, IPC_RMID) == 0);
}

static void landlock_rules(void) {
    uint64_t handled = 1;
    long rules = syscall(444, &handled, sizeof handled, 0);
    if (rules < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(446, rules, 0) != 0) missing();
    if (rules >= 0) close((int)rules);
}

static void dnotify(void) {
    open_or_missing(open("/", O_RDONLY | O_DIRECTORY));
    if (fd >= 0 && fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT) != 0) missing();
}

/* The duplicate has it, too. */
static void dnotify_duplicate(void) {
    dnotify();
    CHECK(is_missing || (fcntl(fd, F_DUPFD, 50) == 50 && close(fd) == 0));
    if (!is_missing) fd = 50;
}

static void socket_filter(void) {
    struct sock_filter all[] = {{0x06 /* return */, 0, 0, 0xffff}};
    struct sock_fprog program = {1, all};
    open_or_missing(socket(AF_INET, SOCK_DGRAM, 0));
    CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
}

static void pair_filter(void) {
    int ends[2];
    struct sock_filter all[] = {{0x06 /* return */, 0, 0, 0xffff}};
    struct sock_fprog program = {1, all};
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    CHECK(setsockopt(ends[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
}

static void multicast(void) {
    struct ip_mreq group = {{htonl(0xe0000105)}, {htonl(INADDR_LOOPBACK)}};
    open_or_missing(socket(AF_INET, SOCK_DGRAM, 0));
    if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) != 0) missing();
}

static sigjmp_buf no_such_call;

static void not_emulated(int signal) {
    (void)signal;
    siglongjmp(no_such_call, 1);
}

static void compat_call(void) {
    long result = -1;
    signal(SIGSEGV, not_emulated);
    if (sigsetjmp(no_such_call, 1) == 0) __asm__ volatile("int $0x80" : "=a"(result) : "a"(20 /* getpid */) : "memory");
    signal(SIGSEGV, SIG_DFL);
    if (result != getpid()) missing();
}

static void bound_memory(void) {
    unsigned long nodes = 1;
    map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (page && syscall(SYS_mbind, page, 4096, 2 /* MPOL_BIND */, &nodes, 8 * sizeof nodes, 0) != 0) missing();
}

static void io_ports(void) {
    if (syscall(SYS_ioperm, 0x80, 1, 1) != 0) missing();
}

static void core_scheduling(void) {
    if (prctl(62 /* PR_SCHED_CORE */, 1 /* create */, 0, 0 /* thread */, 0) != 0) missing();
}

static volatile int thread_is;

/* A thread that does one thing to itself and stays. */
static void *unlike(void *what) {
    int flags = *(int *)what;
    if (flags == 0) {
        struct { int kind, id; } owner = {0 /* F_OWNER_TID */, (int)syscall(SYS_gettid)};
        fd = socket(AF_INET, SOCK_DGRAM, 0);
        CHECK(fcntl(fd, 15 /* F_SETOWN_EX */, &owner) == 0);
    } else if (unshare(flags) != 0) {
        missing();
    }
    thread_is = 1;
    for (;;) pause();
    return NULL;
}

static void with_thread(int flags) {
    static int kept;
    pthread_t thread;
    kept = flags;
    CHECK(pthread_create(&thread, NULL, unlike, &kept) == 0);
    while (!thread_is) usleep(1000);
}

static void thread_directory(void) { with_thread(CLONE_FS); }
static void thread_descriptors(void) { with_thread(CLONE_FILES); }
static void thread_namespace(void) { with_thread(CLONE_NEWUTS); }
static void owner_thread(void) { with_thread(0); }

static void memory_owner(void) {
    open_or_missing(memfd_create("owned", 0));
    if (fd >= 0 && fchown(fd, 12345, 12345) != 0) missing();
}

static void trusted_attribute(void) {
    open_or_missing(memfd_create("attribute", 0));
    if (fd >= 0 && fsetxattr(fd, "trusted.colour", "blue", 4, 0) != 0) missing();
}

static void root_directory(void) {
    if (chroot(".") != 0) missing();
}

static const struct kind {
    const char *name;
    void (*prepare)(void), (*still)(void);
} kinds[] = {
    {"tcp", tcp, talk}, {"tcp6", tcp6, talk}, {"io_uring", io_uring, NULL},
    {"io_uring-mapped", io_uring_mapped, NULL}, {"aio", aio, end_aio}, {"userfaultfd", userfaultfd, NULL},
    {"userfault-memory", userfault_memory, NULL}, {"perf", perf, NULL}, {"bpf", bpf, NULL},
    {"landlock", landlock, NULL}, {"fanotify", fanotify, NULL}, {"netlink", netlink, NULL}, {"crypto", crypto, NULL},
    {"vsock", vsock, NULL}, {"packet", packet, NULL}, {"kvm", kvm, NULL}, {"device", device, NULL},
    {"secret", secret, NULL}, {"pidfd", pidfd, NULL}, {"queue", queue, NULL},
    {"waiting-connection", waiting_connection, NULL}, {"waiting-datagram", waiting_datagram, read_datagram},
    {"inotify", unread_inotify, read_inotify}, {"terminal", unread_terminal, read_terminal},
    {"other-name", deleted_with_another_name, NULL}, {"stale-epoll", stale_epoll, NULL}, {"owner", owner, NULL}, {"owner-twin", owner_twin, NULL},
    {"write-execute", write_execute, NULL},
    {"hugetlb", hugetlb, NULL}, {"system-v", system_v, NULL}, {"protection-key", protection_key, NULL},
    {"sealed", sealed, NULL}, {"mapped-twice", mapped_twice, NULL},
    {"filter", filter, NULL}, {"child", child, end_child}, {"named-child", named_child, end_child}, {"no-dump", no_dump, NULL}, {"tracer", tracer, end_tracee},
    {"root-directory", root_directory, NULL}, {"other-group", other_group, NULL},
    {"memory-policy", memory_policy, NULL}, {"dispatch", dispatch, NULL}, {"cpuid", cpuid, NULL}, {"amx", amx, NULL},
    {"tagged", tagged, NULL}, {"ldt", ldt, NULL}, {"thread-keyring", thread_keyring, NULL},
    {"process-keyring", process_keyring, NULL}, {"session-keyring", session_keyring, NULL},
    {"semaphore-undo", semaphore_undo, remove_set}, {"landlock-rules", landlock_rules, NULL}, {"dnotify", dnotify, NULL},
    {"dnotify-duplicate", dnotify_duplicate, NULL}, 
    {"socket-filter", socket_filter, NULL}, {"pair-filter", pair_filter, NULL}, {"multicast", multicast, NULL},
    {"32-bit", compat_call, NULL}, {"bound-memory", bound_memory, NULL}, {"io-ports", io_ports, NULL},
    {"core-scheduling", core_scheduling, NULL}, {"thread-directory", thread_directory, NULL},
    {"thread-descriptors", thread_descriptors, NULL}, {"thread-namespace", thread_namespace, NULL},
    {"owner-thread", owner_thread, NULL}, {"memory-owner", memory_owner, NULL},
    {"trusted-attribute", trusted_attribute, NULL}, {"shut-down", shut_down, at_end},
    {"parent-file", parent_file, NULL}, {"descriptor-file", descriptor_file, NULL}, {"no-right", no_right, NULL},
    {"guarded-data", guarded_data, data_is_there},
};

static const struct kind *kind;

/* Once the first thread has gone this is all that is left. */
static void *go_on(void *unused) {
    char text[256] = "";
    while (!strstr(text, ") Z ")) {
        int stat = open("/proc/self/stat", O_RDONLY);
        CHECK(stat >= 0 && read(stat, text, sizeof text - 1) > 0 && close(stat) == 0);
    }
    snap_ready();
    CHECK((fd = open("went-on", O_CREAT | O_WRONLY | O_TRUNC, 0666)) >= 0 && write(fd, "went on", 7) == 7);
    exit(0);
    return unused;
}

int main(int argc, char **argv) {
    char *name = argc > 1 ? argv[1] : "";
    int out = open("went-on", O_CREAT | O_WRONLY | O_TRUNC, 0666);
    CHECK(out >= 0 && fcntl(out, F_DUPFD, 100) == 100 && close(out) == 0);
    out = 100;
    if (!strcmp(name, "first-thread")) {
        pthread_t thread;
        close(out);
        CHECK(pthread_create(&thread, NULL, go_on, NULL) == 0);
        pthread_exit(NULL);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) if (!strcmp(kinds[i].name, name)) kind = &kinds[i];
    CHECK(kind != NULL);
    kind->prepare();
    if (is_missing) {
        CHECK(write(out, "missing", 7) == 7);
        if (kind->still == end_tracee) end_tracee();
        return 0;
    }
    if (page) page[7] = 'm';

    snap_ready();

    if (page) CHECK(page[7] == 'm');
    if (fd >= 0) CHECK(fcntl(fd, F_GETFD) >= 0);
    if (kind->still) kind->still();
    CHECK(write(out, "went on", 7) == 7);
    return 0;
}
