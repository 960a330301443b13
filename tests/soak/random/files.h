/* Descriptors of every kind that can be made again. */
#include <poll.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>

/* A file with random content. Only the descriptor that the caller asks for is open. */
static int content(const char *path, size_t len, int flags) {
    static unsigned char bytes[1 << 16];
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    fill(bytes, len, next());
    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len) return -1;
    close(fd);
    return open(path, flags);
}

static const int file_flags[] = {O_RDONLY, O_RDWR, O_WRONLY, O_RDWR | O_APPEND, O_RDONLY | O_CLOEXEC, O_RDWR | O_CLOEXEC, O_RDWR | O_NONBLOCK, O_RDONLY | O_NOATIME};

static int make_file(struct step *step) {
    size_t len = below(30000);
    step->fd = content(step->path, len, PICK(file_flags));
    return step->fd >= 0 && lseek(step->fd, below((unsigned)len + 5000), SEEK_SET) >= 0;
}

static void look_file(struct step *step) {
    look_fd(step->fd);
    note("offset %ld", (long)lseek(step->fd, 0, SEEK_CUR));
}

static void use_file(struct step *step) {
    int access = fcntl(step->fd, F_GETFL) & O_ACCMODE;
    if (access != O_WRONLY) drain(step->fd);
    if (access != O_RDONLY) printf(" written %ld", (long)write(step->fd, "abc", 3));
    printf(" offset %ld", (long)lseek(step->fd, 0, SEEK_CUR));
}

static const struct kind file = {"file", 0, 0, make_file, look_file, use_file};

static int make_deleted_file(struct step *step) {
    return make_file(step) && unlink(step->path) == 0;
}

static const struct kind deleted_file = {"deleted file", 0, 0, make_deleted_file, look_file, use_file};

static int make_directory(struct step *step) {
    step->fd = open(one_in(2) ? "." : "/", O_RDONLY | O_DIRECTORY | (one_in(2) ? O_CLOEXEC : 0) | (one_in(3) ? O_PATH : 0));
    return step->fd >= 0;
}

static void look_directory(struct step *step) {
    look_fd(step->fd);
}

static void use_directory(struct step *step) {
    struct stat about;
    printf(" %d", fstatat(step->fd, ".", &about, 0));
}

static const struct kind directory = {"directory", 0, 0, make_directory, look_directory, use_directory};

static int make_duplicate(struct step *step) {
    struct step *of = earlier();
    if (!of) return 0;
    step->a = of - all;
    step->fd = fcntl(of->fd, one_in(2) ? F_DUPFD : F_DUPFD_CLOEXEC, 100 + (int)below(300));
    return step->fd >= 0;
}

static void use_duplicate(struct step *step) {
    int one = all[step->a].fd, flags = fcntl(one, F_GETFL);
    fcntl(one, F_SETFL, flags ^ O_NONBLOCK);
    printf(" same description: %d", fcntl(step->fd, F_GETFL) == fcntl(one, F_GETFL));
    fcntl(one, F_SETFL, flags);
}

static const struct kind duplicate = {"duplicate", 0, 0, make_duplicate, look_directory, use_duplicate};

static int make_pipe(struct step *step) {
    static unsigned char bytes[1 << 15];
    int ends[2];
    if (pipe2(ends, (one_in(2) ? O_CLOEXEC : 0) | (one_in(3) ? O_NONBLOCK : 0) | (one_in(5) ? O_DIRECT : 0))) return 0;
    if (one_in(2)) fcntl(ends[1], F_SETPIPE_SZ, 4096 << below(5));
    size_t len = below(4096 + 1);
    fill(bytes, len, next());
    if (len && write(ends[1], bytes, len) != (ssize_t)len) return 0;
    if (one_in(3)) close(ends[1]), ends[1] = -1;
    step->fd = ends[0], step->other = ends[1];
    return 1;
}

static void look_pipe(struct step *step) {
    int queued = -1;
    look_fd(step->fd);
    look_fd(step->other);
    ioctl(step->fd, FIONREAD, &queued);
    note("queued %d of %d", queued, fcntl(step->fd, F_GETPIPE_SZ));
}

static void use_pipe(struct step *step) {
    drain(step->fd);
    if (step->other >= 0) {
        printf(" written %ld", (long)write(step->other, "pipe", 4));
        drain(step->fd);
    }
}

static const struct kind pipe_ends = {"pipe", 0, 0, make_pipe, look_pipe, use_pipe};

static int make_socket_pair(struct step *step) {
    static unsigned char bytes[4096];
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    int ends[2], type = PICK(types);
    if (socketpair(AF_UNIX, type | (one_in(2) ? SOCK_CLOEXEC : 0) | (one_in(3) ? SOCK_NONBLOCK : 0), 0, ends)) return 0;
    step->fd = ends[0], step->other = ends[1];
    if (one_in(3)) setsockopt(ends[0], SOL_SOCKET, SO_RCVBUF, &(int){8192 + (int)below(60000)}, sizeof(int));
    if (one_in(3)) setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &(int){32768 + (int)below(60000)}, sizeof(int));
    if (one_in(4)) setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int));
    if (one_in(4)) setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){7, 0}, sizeof(struct timeval));
    for (unsigned i = below(5); i > 0; i--) {
        size_t len = 1 + below(1000);
        fill(bytes, len, next());
        if (send(ends[below(2)], bytes, len, MSG_DONTWAIT) != (ssize_t)len) return 0;
    }
    return 1;
}

static void look_socket_pair(struct step *step) {
    for (int i = 0; i < 2; i++) {
        int fd = i ? step->other : step->fd;
        static const int options[] = {SO_TYPE, SO_RCVBUF, SO_SNDBUF, SO_PASSCRED, SO_PRIORITY, SO_KEEPALIVE};
        look_fd(fd);
        for (unsigned o = 0; o < sizeof options / sizeof *options; o++) {
            int value = 0;
            socklen_t len = sizeof value;
            getsockopt(fd, SOL_SOCKET, options[o], &value, &len);
            note("option %d is %d", options[o], value);
        }
        struct timeval limit = {0};
        socklen_t len = sizeof limit;
        getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &len);
        note("time limit %ld", (long)limit.tv_sec);
    }
}

static void use_socket_pair(struct step *step) {
    unsigned char bytes[4096];
    for (int i = 0; i < 2; i++) {
        int fd = i ? step->other : step->fd;
        for (;;) {
            ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
            printf(" %ld %s", (long)n, n < 0 ? name_of(errno) : "");
            if (n <= 0) break;
            printf("%lx", sum(bytes, (size_t)n));
        }
    }
    printf(" sent %ld", (long)send(step->fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
    printf(" received %ld", (long)recv(step->other, bytes, sizeof bytes, MSG_DONTWAIT));
}

static const struct kind socket_pair = {"socket pair", 0, 0, make_socket_pair, look_socket_pair, use_socket_pair};

static int make_event_counter(struct step *step) {
    step->fd = eventfd(below(1000), (one_in(2) ? EFD_SEMAPHORE : 0) | (one_in(2) ? EFD_CLOEXEC : 0) | EFD_NONBLOCK);
    return step->fd >= 0;
}

static void use_event_counter(struct step *step) {
    for (int i = 0; i < 3; i++) {
        uint64_t value = 0;
        ssize_t n = read(step->fd, &value, 8);
        printf(" %ld %lu", (long)n, (unsigned long)value);
    }
    printf(" %ld", (long)write(step->fd, &(uint64_t){5}, 8));
}

static const struct kind event_counter = {"eventfd", 0, 0, make_event_counter, look_directory, use_event_counter};

static int make_timer_descriptor(struct step *step) {
    static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
    step->fd = timerfd_create(PICK(clocks), TFD_NONBLOCK | (one_in(2) ? TFD_CLOEXEC : 0));
    struct itimerspec when = {.it_value.tv_sec = one_in(4) ? 0 : 10000 + below(100000), .it_interval.tv_sec = one_in(2) ? below(500) : 0};
    step->a = when.it_value.tv_sec;
    return step->fd >= 0 && timerfd_settime(step->fd, 0, &when, NULL) == 0;
}

static void look_timer_descriptor(struct step *step) {
    struct itimerspec when = {0};
    look_fd(step->fd);
    timerfd_gettime(step->fd, &when);
    long gone = step->a - when.it_value.tv_sec;
    note("every %ld, about the time that was set: %d", (long)when.it_interval.tv_sec, gone >= 0 && gone < 120);
}

static void use_timer_descriptor(struct step *step) {
    struct itimerspec now = {.it_value.tv_nsec = 1};
    uint64_t value = 0;
    struct pollfd ready = {step->fd, POLLIN, 0};
    int is_set = timerfd_settime(step->fd, 0, &now, NULL);
    poll(&ready, 1, 5000);
    ssize_t n = read(step->fd, &value, 8);
    printf(" %d %ld %lu", is_set, (long)n, (unsigned long)value);
}

static const struct kind timer_descriptor = {"timerfd", 0, 0, make_timer_descriptor, look_timer_descriptor, use_timer_descriptor};

/* The line of /proc/self/fdinfo that begins with the text. */
static void look_info(int fd, const char *key) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *info = fopen(path, "re");
    while (info && fgets(line, sizeof line, info)) {
        if (strncmp(line, key, strlen(key))) continue;
        line[strcspn(line, "\n")] = 0;
        note("%s", line);
    }
    if (info) fclose(info);
}

static int make_signal_descriptor(struct step *step) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < 3; i++) sigaddset(&set, SIGRTMIN + 20 + (int)below(8));
    step->fd = signalfd(-1, &set, SFD_NONBLOCK | (one_in(2) ? SFD_CLOEXEC : 0));
    return step->fd >= 0;
}

static void look_signal_descriptor(struct step *step) {
    look_fd(step->fd);
    look_info(step->fd, "sigmask:");
}

static void use_signal_descriptor(struct step *step) {
    struct signalfd_siginfo info;
    ssize_t n = read(step->fd, &info, sizeof info);
    printf(" %ld %s", (long)n, n < 0 ? name_of(errno) : "");
}

static const struct kind signal_descriptor = {"signalfd", 0, 0, make_signal_descriptor, look_signal_descriptor, use_signal_descriptor};

static int make_event_poll(struct step *step) {
    step->fd = epoll_create1(one_in(2) ? EPOLL_CLOEXEC : 0);
    for (unsigned i = below(4); i > 0; i--) {
        struct step *of = earlier();
        static const unsigned events[] = {EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLRDHUP};
        struct epoll_event event = {.events = PICK(events), .data.u64 = next()};
        if (of && of->kind != step->kind) epoll_ctl(step->fd, EPOLL_CTL_ADD, of->fd, &event);
    }
    return step->fd >= 0;
}

static void use_event_poll(struct step *step) {
    struct epoll_event found[8];
    int n = epoll_wait(step->fd, found, 8, 0);
    uint64_t mixed = 0;
    for (int i = 0; i < n; i++) mixed += found[i].data.u64 * (found[i].events + 1);
    printf(" %d %lx", n, (unsigned long)mixed);
}

static const struct kind event_poll = {"epoll", 0, 0, make_event_poll, look_directory, use_event_poll};

static int make_memory_file(struct step *step) {
    static unsigned char bytes[1 << 15];
    step->fd = memfd_create("random", MFD_ALLOW_SEALING | (one_in(2) ? MFD_CLOEXEC : 0));
    size_t len = below(sizeof bytes);
    fill(bytes, len, next());
    if (step->fd < 0 || write(step->fd, bytes, len) != (ssize_t)len) return 0;
    lseek(step->fd, below(20000), SEEK_SET);
    if (one_in(2)) fcntl(step->fd, F_ADD_SEALS, one_in(2) ? F_SEAL_SHRINK : F_SEAL_GROW | F_SEAL_WRITE);
    return 1;
}

static void look_memory_file(struct step *step) {
    look_file(step);
    note("seals %d", fcntl(step->fd, F_GET_SEALS));
}

static const struct kind memory_file = {"memfd", 0, 0, make_memory_file, look_memory_file, use_file};

static int make_watch(struct step *step) {
    step->fd = inotify_init1(IN_NONBLOCK | (one_in(2) ? IN_CLOEXEC : 0));
    /* The step's own directory, which no other step changes. */
    snprintf(step->path, sizeof step->path, "watched%u", count);
    return step->fd >= 0 && mkdir(step->path, 0755) == 0 &&
           (step->a = inotify_add_watch(step->fd, step->path, one_in(2) ? IN_CREATE : IN_ALL_EVENTS)) >= 0;
}

static void use_watch(struct step *step) {
    char name[64];
    union { struct inotify_event event; char bytes[4096]; } got;
    snprintf(name, sizeof name, "%s/new", step->path);
    int made = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ssize_t n = read(step->fd, &got, sizeof got);
    if (made >= 0) close(made);
    printf(" made %d: %d", made >= 0, n > 0);
    if (n > 0) printf(" watch %d mask %x %s", got.event.wd == step->a, got.event.mask, got.event.name);
}

static const struct kind watch = {"inotify", 0, 0, make_watch, look_directory, use_watch};

static int make_file_lock(struct step *step) {
    step->fd = content(step->path, 1000, O_RDWR);
    if (step->fd < 0) return 0;
    if (one_in(2)) return flock(step->fd, one_in(2) ? LOCK_SH : LOCK_EX) == 0;
    struct flock range = {.l_type = one_in(2) ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_start = below(100), .l_len = 1 + below(100)};
    return fcntl(step->fd, one_in(2) ? F_OFD_SETLK : F_SETLK, &range) == 0;
}

/* Another process checks the locks, since a process that closes a file loses its locks on it. */
static void use_file_lock(struct step *step) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(step->path, O_RDWR);
        fcntl(fd, F_GETLK, &range);
        printf(" type %d at %ld for %ld,", range.l_type, (long)range.l_start, (long)range.l_len);
        int shared = flock(fd, LOCK_SH | LOCK_NB), exclusive = flock(fd, LOCK_EX | LOCK_NB);
        printf(" shared %d exclusive %d", shared, exclusive);
        fflush(stdout);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

static const struct kind file_lock = {"lock", 0, 0, make_file_lock, look_directory, use_file_lock};

static int make_listener(struct step *step) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    step->fd = socket(AF_INET, SOCK_STREAM | (one_in(2) ? SOCK_CLOEXEC : 0) | (one_in(2) ? SOCK_NONBLOCK : 0), 0);
    setsockopt(step->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    return step->fd >= 0 && bind(step->fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(step->fd, 5) == 0;
}

static void use_listener(struct step *step) {
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    getsockname(step->fd, (struct sockaddr *)&address, &len);
    int connected = connect(client, (struct sockaddr *)&address, len), server = accept(step->fd, NULL, NULL);
    printf(" %d %d %ld", connected, server >= 0, (long)write(client, "hello", 5));
    close(client);
    if (server >= 0) drain(server), close(server);
}

static const struct kind listener = {"listening socket", 0, 0, make_listener, look_directory, use_listener};

static int make_stream(struct step *step) {
    int fd = content(step->path, 20000, O_RDWR);
    FILE *stream = fd >= 0 ? fdopen(fd, one_in(2) ? "r+" : "r") : NULL;
    if (!stream) return 0;
    if (one_in(3)) setvbuf(stream, NULL, _IOFBF, 1 + below(9000));
    for (unsigned i = below(9000); i > 0; i--) fgetc(stream);
    if (one_in(3)) ungetc('u', stream);
    step->at = stream;
    return 1;
}

static void use_stream(struct step *step) {
    char bytes[300] = "";
    size_t n = fread(bytes, 1, sizeof bytes, step->at);
    printf(" at %ld, read %zu %lx", ftell(step->at), n, sum(bytes, n));
}

static const struct kind stream = {"stream", 0, 0, make_stream, NULL, use_stream};
