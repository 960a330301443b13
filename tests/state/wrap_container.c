/* Runs its arguments as a command under the restrictions of Docker's default seccomp profile for a container without
 * capabilities, which containerd (Kubernetes: RuntimeDefault) has as well. Docker's documentation lists the system
 * calls that the profile blocks, and why. In fact it is a list of those that it allows: what neither list has, newer
 * calls above all, is missing here by number. With --podman only kcmp and the newest calls are forbidden: podman's
 * profile is that of its package, and this is its difference that matters to the snapshotter. */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include "check.h"

/* Calls with a number above are not known to profiles of that time, and engines answer ENOSYS. */
#define NEWEST 450
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static const int blocked[] = {
    /* of processes: CAP_SYS_PTRACE. ptrace and process_vm_readv are allowed since Linux 4.8. */
    SYS_kcmp, SYS_pidfd_getfd, SYS_process_madvise,
    /* namespaces, mounts, roots: CAP_SYS_ADMIN, CAP_SYS_CHROOT */
    SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_open_tree, SYS_move_mount,
    SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_mount_setattr,
    /* the kernel's keyrings, tracing, modules */
    SYS_add_key, SYS_keyctl, SYS_request_key, SYS_bpf, SYS_perf_event_open, SYS_fanotify_init, SYS_userfaultfd,
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_create_module, SYS_get_kernel_syms, SYS_query_module,
    SYS_kexec_load, SYS_kexec_file_load, SYS_lookup_dcookie,
    /* memory policy: CAP_SYS_NICE */
    SYS_get_mempolicy, SYS_set_mempolicy, SYS_mbind, SYS_migrate_pages, SYS_move_pages,
    /* clocks, ports, quotas, names, the machine */
    SYS_clock_settime, SYS_settimeofday, SYS_iopl, SYS_ioperm, SYS_acct, SYS_quotactl, SYS_sethostname,
    SYS_setdomainname, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_syslog, SYS_vhangup, SYS_open_by_handle_at,
    /* obsolete */
    SYS__sysctl, SYS_nfsservctl, SYS_sysfs, SYS_uselib, SYS_ustat,
};

static struct sock_filter filter[400];
static unsigned short length;

static void add(struct sock_filter instruction) {
    CHECK(length < sizeof filter / sizeof *filter);
    filter[length++] = instruction;
}

static void load(size_t offset) {
    add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

/* Unless the comparison holds, the next instruction is left out. */
static void answer_if(unsigned short comparison, unsigned value, unsigned answer) {
    add((struct sock_filter)BPF_JUMP(BPF_JMP | comparison | BPF_K, value, 0, 1));
    add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, answer));
}

int main(int argc, char **argv) {
    unsigned refuse = SECCOMP_RET_ERRNO | EPERM, unknown = SECCOMP_RET_ERRNO | ENOSYS;
    struct sock_fprog program = {.filter = filter};
    int podman = argc > 2 && strcmp(argv[1], "--podman") == 0;
    CHECK(argc > 1);
    load(offsetof(struct seccomp_data, nr));
    answer_if(BPF_JGT, NEWEST, unknown);
    if (podman) {
        argv++;
        answer_if(BPF_JEQ, SYS_kcmp, refuse);
        answer_if(BPF_JEQ, SYS_userfaultfd, refuse);
    } else {
        for (size_t i = 0; i < sizeof blocked / sizeof *blocked; i++) answer_if(BPF_JEQ, blocked[i], refuse);
        answer_if(BPF_JEQ, SYS_clone3, unknown);
        /* clone makes no namespaces. */
        add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3));
        load(offsetof(struct seccomp_data, args[0]));
        answer_if(BPF_JSET, NAMESPACES, refuse);
        load(offsetof(struct seccomp_data, nr));
        /* No sockets of virtual machines. */
        add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3));
        load(offsetof(struct seccomp_data, args[0]));
        answer_if(BPF_JEQ, AF_VSOCK, refuse);
        load(offsetof(struct seccomp_data, nr));
    }
    /* Of all personalities, five. */
    add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_personality, 1, 0));
    add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    load(offsetof(struct seccomp_data, args[0]));
    answer_if(BPF_JEQ, PER_LINUX, SECCOMP_RET_ALLOW);
    answer_if(BPF_JEQ, PER_LINUX32, SECCOMP_RET_ALLOW);
    answer_if(BPF_JEQ, UNAME26, SECCOMP_RET_ALLOW);
    answer_if(BPF_JEQ, UNAME26 | PER_LINUX32, SECCOMP_RET_ALLOW);
    answer_if(BPF_JEQ, 0xffffffff, SECCOMP_RET_ALLOW);
    add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refuse));

    program.len = length;
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    CHECK(syscall(SYS_kcmp, 1, 1, 0, 0, 0) == -1 && errno == EPERM);
    CHECK(personality(ADDR_COMPAT_LAYOUT) == -1 && errno == EPERM);
    execvp(argv[1], argv + 1);
    return 127;
}
