/* State that no instance can have: the snapshotter must refuse the program and name the state. */
#include <sys/syscall.h>

static int make_refused_connection(struct step *step) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || bind(server, (struct sockaddr *)&address, len) || listen(server, 1)) return 0;
    getsockname(server, (struct sockaddr *)&address, &len);
    step->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(step->fd, (struct sockaddr *)&address, len)) return 0;
    step->other = accept(server, NULL, NULL);
    close(server);
    return step->other >= 0;
}

static void use_refused_connection(struct step *step) {
    char byte = 0;
    printf(" %ld", (long)write(step->fd, "c", 1));
    long n = (long)read(step->other, &byte, 1);
    printf(" %ld %c", n, byte);
}

static const struct kind refused_connection = {"connection", 1, 1, make_refused_connection, look_directory, use_refused_connection};

static int make_refused_queue(struct step *step) {
    unsigned long context = 0;
    int result = (int)syscall(SYS_io_setup, 4, &context);
    step->at = (void *)context;
    return result == 0;
}

static void use_refused_queue(struct step *step) {
    printf(" %d", (int)syscall(SYS_io_destroy, step->at));
}

static const struct kind refused_queue = {"asynchronous I/O", 1, 1, make_refused_queue, NULL, use_refused_queue};

static int make_refused_uring(struct step *step) {
    char parameters[256] = {0};
    step->fd = (int)syscall(425, 4, parameters);
    return step->fd >= 0;
}

static const struct kind refused_uring = {"io_uring", 1, 1, make_refused_uring, look_directory, NULL};
