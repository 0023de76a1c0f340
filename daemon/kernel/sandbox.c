/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/capability.h>
#include <seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/sandbox.h"
#include "util/macro.h"

struct Sandbox {
        uint64_t capabilities; /* that it leaves */
        scmp_filter_ctx filter;
};

#define CAP(c) (UINT64_C(1) << (c))

/* Of which the bounding set of the unit has a part. */
static uint64_t capabilities_for(unsigned needs) {
        uint64_t caps = 0;

        if (needs & SANDBOX_MODULES)
                caps |= CAP(CAP_SYS_MODULE);
        /* SYS_ADMIN: to find the type information of modules by its id. */
        if (needs & SANDBOX_BPF)
                caps |= CAP(CAP_BPF) | CAP(CAP_PERFMON) | CAP(CAP_SYS_ADMIN) | CAP(CAP_SYS_RESOURCE);
        if (needs & SANDBOX_OTHERS)
                caps |= CAP(CAP_SYS_PTRACE) | CAP(CAP_DAC_READ_SEARCH);
        if (needs & SANDBOX_KILL)
                caps |= CAP(CAP_KILL);
        if (needs & SANDBOX_MEMLOCK)
                caps |= CAP(CAP_SYS_RESOURCE);
        if (needs & SANDBOX_PCI)
                caps |= CAP(CAP_SYS_ADMIN);
        return caps;
}

static int drop_capabilities(uint64_t keep) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

        if (syscall(SYS_capget, &header, data) < 0)
                return -errno;
        for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
                data[i].permitted &= (uint32_t) (keep >> (32 * i));
                data[i].effective = data[i].permitted;
                data[i].inheritable = 0;
        }
        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* What the C library and the work itself need: files, memory, time, messages over sockets that are there. */
static const int always[] = {
        SCMP_SYS(access),
        SCMP_SYS(brk),
        SCMP_SYS(clock_getres),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(clock_nanosleep),
        SCMP_SYS(close),
        SCMP_SYS(close_range),
        SCMP_SYS(dup),
        SCMP_SYS(dup2),
        SCMP_SYS(dup3),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
        SCMP_SYS(faccessat),
        SCMP_SYS(faccessat2),
        SCMP_SYS(fcntl),
        SCMP_SYS(fcntl64),
        SCMP_SYS(flock),
        SCMP_SYS(fstat),
        SCMP_SYS(fstat64),
        SCMP_SYS(fstatat64),
        SCMP_SYS(fstatfs),
        SCMP_SYS(fstatfs64),
        SCMP_SYS(fsync),
        SCMP_SYS(futex),
        SCMP_SYS(getdents64),
        SCMP_SYS(getegid),
        SCMP_SYS(geteuid),
        SCMP_SYS(getgid),
        SCMP_SYS(getpid),
        SCMP_SYS(getppid),
        SCMP_SYS(getrandom),
        SCMP_SYS(getrlimit),
        SCMP_SYS(gettid),
        SCMP_SYS(gettimeofday),
        SCMP_SYS(getuid),
        SCMP_SYS(inotify_add_watch),
        SCMP_SYS(ioctl),
        SCMP_SYS(_llseek),
        SCMP_SYS(lseek),
        SCMP_SYS(lstat),
        SCMP_SYS(madvise),
        SCMP_SYS(membarrier),
        SCMP_SYS(mmap),
        SCMP_SYS(mmap2),
        SCMP_SYS(mprotect),
        SCMP_SYS(mremap),
        SCMP_SYS(munmap),
        SCMP_SYS(nanosleep),
        SCMP_SYS(newfstatat),
        SCMP_SYS(open),
        SCMP_SYS(openat),
        SCMP_SYS(openat2),
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(pread64),
        SCMP_SYS(prlimit64),
        SCMP_SYS(pwrite64),
        SCMP_SYS(read),
        SCMP_SYS(readlink),
        SCMP_SYS(readlinkat),
        SCMP_SYS(readv),
        SCMP_SYS(recvmsg),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(rseq),
        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(sched_getaffinity),
        SCMP_SYS(sched_yield),
        SCMP_SYS(sendmsg),
        SCMP_SYS(set_robust_list),
        SCMP_SYS(sigaltstack),
        SCMP_SYS(stat),
        SCMP_SYS(statfs),
        SCMP_SYS(statx),
        SCMP_SYS(sysinfo),
        SCMP_SYS(tgkill), /* abort(); other threads there are none, and other processes are CAP_KILL's */
        SCMP_SYS(uname),
        SCMP_SYS(write),
        SCMP_SYS(writev),
};

/* What the host does with a network card is asked over netlink. */
static const int netlink[] = {
        SCMP_SYS(bind),       SCMP_SYS(getsockname), SCMP_SYS(getsockopt),
        SCMP_SYS(setsockopt), SCMP_SYS(sendto),      SCMP_SYS(recvfrom),
};

static const int modules[] = { SCMP_SYS(finit_module), SCMP_SYS(init_module), SCMP_SYS(connect),
                               SCMP_SYS(getpeername) };

static const int bpf[] = {
        SCMP_SYS(bpf),           SCMP_SYS(mkdir),     SCMP_SYS(mkdirat),  SCMP_SYS(memfd_create),
        SCMP_SYS(rmdir),         SCMP_SYS(unlink),    SCMP_SYS(unlinkat), SCMP_SYS(rename),
        SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(renameat), SCMP_SYS(renameat2),
};

/* pidfd_send_signal() with 0 asks whether a process is still there. */
static const int others[] = { SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(eventfd2) };

static int allow(scmp_filter_ctx filter, const int *calls, size_t n) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        return r;
}

static int allow_sockets(scmp_filter_ctx filter, unsigned family) {
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0_32(SCMP_CMP_EQ, family));
}

static int allow_signals(scmp_filter_ctx filter, unsigned needs) {
        if (needs & SANDBOX_KILL)
                return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(pidfd_send_signal), 0);
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(pidfd_send_signal), 1, SCMP_A1_32(SCMP_CMP_EQ, 0));
}

static int fill(scmp_filter_ctx filter, unsigned needs) {
        int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);

        /* A tree, since the kernel (5.11) runs each filter that it loads for every system call there is. */
        if (r >= 0)
                r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        if (r >= 0)
                r = allow(filter, always, ARRAY_SIZE(always));
        if (r >= 0)
                r = allow(filter, netlink, ARRAY_SIZE(netlink));
        if (r >= 0)
                r = allow_sockets(filter, AF_NETLINK);
        if (r >= 0 && needs & SANDBOX_MODULES)
                r = allow(filter, modules, ARRAY_SIZE(modules));
        if (r >= 0 && needs & SANDBOX_MODULES)
                r = allow_sockets(filter, AF_UNIX);
        if (r >= 0 && needs & SANDBOX_BPF)
                r = allow(filter, bpf, ARRAY_SIZE(bpf));
        if (r >= 0 && needs & SANDBOX_OTHERS)
                r = allow(filter, others, ARRAY_SIZE(others));
        if (r >= 0 && needs & (SANDBOX_OTHERS | SANDBOX_KILL))
                r = allow_signals(filter, needs);
        return r;
}

int sandbox_new(unsigned needs, Sandbox **ret) {
        _cleanup_(sandbox_freep) Sandbox *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->capabilities = capabilities_for(needs);
        s->filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        if (!s->filter)
                return -ENOMEM;
        r = fill(s->filter, needs);
        if (r >= 0)
                r = seccomp_precompute(s->filter);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Sandbox *sandbox_free(Sandbox *s) {
        if (!s)
                return NULL;
        seccomp_release(s->filter);
        free(s);
        return NULL;
}

int sandbox_enter(const Sandbox *s) {
        int r = drop_capabilities(s->capabilities);

        return r < 0 ? r : seccomp_load(s->filter);
}
