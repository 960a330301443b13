/* HTTP for one request on descriptors 0 and 1. The path says what it does; see ../protocols.rs. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static char buffer[128 << 10];

static void answer(const char *text) {
    fputs(text, stdout);
    fflush(stdout);
}

/* The value of a header of the request, or zero. */
static size_t length(const char *end) {
    for (char *line = buffer; line < end; line = strstr(line, "\r\n") + 2)
        if (!strncasecmp(line, "content-length:", 15)) return strtoul(line + 15, NULL, 10);
    return 0;
}

int main(void) {
    size_t count = 0;
    char *end = NULL;
    while (!end) {
        ssize_t more = read(0, buffer + count, sizeof buffer - 1 - count);
        if (more <= 0) return 4;
        count += more;
        buffer[count] = 0;
        end = strstr(buffer, "\r\n\r\n");
    }
    end += 2;
    char path[256] = "";
    sscanf(buffer, "%*s %255s", path);
    if (!strcmp(path, "/wait")) {
        for (;;) pause();
    } else if (!strcmp(path, "/nothing")) {
        return 0;
    } else if (!strcmp(path, "/nonsense")) {
        answer("nonsense\r\n\r\n");
    } else if (!strcmp(path, "/switch")) {
        answer("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    } else if (!strcmp(path, "/killed")) {
        answer("HTTP/1.1 200 OK\r\n\r\nhalf");
        raise(SIGKILL);
    } else if (!strcmp(path, "/short")) {
        answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    } else if (!strcmp(path, "/chunks")) {
        answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    } else if (!strcmp(path, "/both")) {
        answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    } else if (!strcmp(path, "/coded")) {
        answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello");
    } else if (!strcmp(path, "/cut")) {
        answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nd");
    } else if (!strcmp(path, "/old")) {
        answer("HTTP/1.0 200 OK\r\n\r\nuntil the end");
    } else if (!strcmp(path, "/hop")) {
        answer("HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok");
    } else if (!strcmp(path, "/early")) {
        answer("HTTP/1.1 422 Early\r\nContent-Length: 5\r\n\r\nearly");
    } else if (!strncmp(buffer, "HEAD", 4)) {
        answer("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n");
    } else {
        size_t wanted = length(end), left = wanted, sum = 0;
        char *at = end + 2;
        size_t here = count - (at - buffer);
        size_t head = end - buffer;
        char *copy = strndup(buffer, head);
        for (;;) {
            for (size_t i = 0; i < here; i++) sum += (unsigned char)at[i];
            left -= here;
            if (!left) break;
            ssize_t more = read(0, buffer, sizeof buffer);
            if (more <= 0) return 5;
            at = buffer;
            here = more;
        }
        /* Its end is the end of the answer. */
        printf("HTTP/1.1 200 OK\r\n\r\nlength %zu sum %zu\n%s", wanted, sum, copy);
    }
    return 0;
}
