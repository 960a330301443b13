/* A CGI program. The query says what it does; see ../cgi.rs. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

int main(void) {
    const char *query = variable("QUERY_STRING");
    if (!strcmp(query, "variables")) {
        printf("Content-Type: text/plain\n\n");
        for (char **at = environ; *at; at++) puts(*at);
    } else if (!strcmp(query, "echo")) {
        static char buffer[65536];
        size_t count;
        printf("Content-Type: application/octet-stream\nContent-Length: %s\n\n", variable("CONTENT_LENGTH"));
        while ((count = fread(buffer, 1, sizeof buffer, stdin)) > 0) fwrite(buffer, 1, count, stdout);
    } else if (!strcmp(query, "status")) {
        printf("Status: 418 Teapot\r\nX-Own: yes\r\n\r\n");
    } else if (!strcmp(query, "redirect")) {
        printf("Location: /other?path\n\n");
    } else if (!strcmp(query, "away")) {
        printf("Location: http://example.org/\n\n");
    } else if (!strcmp(query, "path")) {
        printf("Content-Type: text/plain\n\n%s %s", variable("REQUEST_METHOD"), variable("PATH_INFO"));
    } else if (!strcmp(query, "short")) {
        printf("Content-Type: text/plain\nContent-Length: 10\n\nshort");
    } else if (!strcmp(query, "long")) {
        printf("Content-Type: text/plain\nContent-Length: 5\n\nlonger");
    } else if (!strcmp(query, "killed")) {
        printf("Content-Type: text/plain\n\nhalf");
        fflush(stdout);
        raise(SIGKILL);
    } else if (!strcmp(query, "silent")) {
        return 3;
    } else if (!strcmp(query, "nonsense")) {
        puts("no header at all");
    } else if (!strcmp(query, "wait")) {
        fprintf(stderr, "pid %d\n", (int)getpid());
        for (;;) pause();
    } else if (!strcmp(query, "none")) {
        printf("Status: 204\n\nignored");
    } else {
        printf("Content-Type: text/plain\n\nhello\n");
    }
    return 0;
}
