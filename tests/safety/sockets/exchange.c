/* Runs a command, and replaces its socket by a link to another file as soon as the socket is bound. */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int status, exchanged = 0;
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(argv[3], argv + 3);
        _exit(99);
    }
    for (waitpid(child, &status, 0); WIFSTOPPED(status); waitpid(child, &status, 0)) {
        int sig = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        struct user_regs_struct regs;
        ptrace(PTRACE_GETREGS, child, 0, &regs);
        if (!exchanged && regs.orig_rax == SYS_bind && regs.rax == 0) {
            exchanged = 1;
            if (unlink(argv[1]) || symlink(argv[2], argv[1])) return 98;
        }
        ptrace(PTRACE_SYSCALL, child, 0, sig);
    }
    if (!exchanged) return 97;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 96;
}
