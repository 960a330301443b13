#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *nothing(void *unused) {
    return unused;
}

/* The program keeps its process ID, as a number and as a text. `exit`, `signal`: how it then ends. */
int main(int argc, char **argv) {
    pid_t kept = getpid();
    char text[40];
    int status = 0;
    pthread_t thread;
    snprintf(text, sizeof text, "/proc/%d/comm", (int)kept);
    int restored = snap_ready();
    if (restored) {
        argc = (int)snap_argc();
        argv = snap_argv();
    }
    printf("%s", getpid() == kept ? "same" : "other");
    printf(" %s", kill(kept, 0) == 0 ? "there" : strerror(errno));
    int file = open(text, O_RDONLY);
    char name[40] = "";
    if (file >= 0 && read(file, name, sizeof name - 1) > 0) name[strcspn(name, "\n")] = 0;
    printf(" %s", name);
    pid_t child = fork();
    if (child == 0) _exit(getppid() == kept ? 3 : 4);
    waitpid(child, &status, 0);
    printf(" child %d", WEXITSTATUS(status));
    printf(" thread %d\n", pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL));
    fflush(stdout);
    if (argc > 1 && !strcmp(argv[1], "signal")) raise(SIGUSR1);
    if (argc > 1 && !strcmp(argv[1], "wait")) pause();
    return argc > 1 && !strcmp(argv[1], "exit") ? 7 : 0;
}
