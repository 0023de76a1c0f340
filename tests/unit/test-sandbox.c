/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../test.h"
#include "kernel/sandbox.h"
#include "util/fd.h"

/* Each attempt is made by a child that has entered the sandbox, if there is one; its exit status is the errno, 0 for success. */

typedef bool (*attempt_t)(void);

static int attempt_in(const Sandbox *sandbox, attempt_t what) {
        pid_t pid;
        int status;

        (void) fflush(NULL);
        pid = fork();
        if (pid == 0) {
                int r = sandbox ? sandbox_enter(sandbox) : 0;

                if (r < 0)
                        _exit(255);
                errno = 0;
                _exit(what() ? 0 : errno);
        }
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_TRUE(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static int attempt(unsigned needs, attempt_t what) {
        _cleanup_(sandbox_freep) Sandbox *sandbox = NULL;

        ASSERT_OK(sandbox_new(needs, &sandbox));
        return attempt_in(sandbox, what);
}

static bool execute(void) {
        return execl("/bin/true", "true", NULL) == 0;
}

static bool open_internet(void) {
        return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static bool open_packet(void) {
        return socket(AF_PACKET, SOCK_RAW, 0) >= 0;
}

static bool open_local(void) {
        return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static bool open_netlink(void) {
        return socket(AF_NETLINK, SOCK_RAW, 0) >= 0;
}

static bool trace(void) {
        return ptrace(PTRACE_SEIZE, getppid(), NULL, NULL) == 0;
}

static bool mount_something(void) {
        return mount("none", "/mnt", "tmpfs", 0, NULL) == 0;
}

static bool fork_again(void) {
        return fork() >= 0;
}

static bool become_somebody(void) {
        return setuid(1000) == 0;
}

static bool kill_parent(void) {
        return kill(getppid(), 0) == 0;
}

static bool signal_by_pidfd(void) {
        return syscall(SYS_pidfd_send_signal, -1, SIGKILL, NULL, 0) == 0;
}

static bool ask_by_pidfd(void) {
        return syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0) == 0;
}

static bool borrow(void) {
        return syscall(SYS_pidfd_getfd, -1, 0, 0) == 0;
}

static bool load_module(void) {
        return syscall(SYS_finit_module, -1, "", 0) == 0;
}

static bool load_program(void) {
        return syscall(SYS_bpf, -1, NULL, 0) == 0;
}

static bool read_file(void) {
        char text[4096];

        return fd_read_text(AT_FDCWD, "/proc/self/cgroup", text, sizeof(text)) >= 0;
}

/* EIO: some are left. */
static bool has_no_capability(void) {
        char text[4096];
        const char *line;

        if (fd_read_text(AT_FDCWD, "/proc/self/status", text, sizeof(text)) < 0)
                return false;
        line = strstr(text, "\nCapPrm:\t");
        errno = EIO;
        return line && strncmp(line, "\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n", 51) == 0;
}

TEST(what_no_job_needs_is_refused) {
        static const attempt_t never[] = { execute,         open_internet, open_packet,     trace,
                                           mount_something, fork_again,    become_somebody, kill_parent };
        static const unsigned all =
                SANDBOX_MODULES | SANDBOX_BPF | SANDBOX_OTHERS | SANDBOX_KILL | SANDBOX_MEMLOCK | SANDBOX_PCI;

        for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
                ASSERT_EQ(attempt(0, never[i]), EPERM);
                ASSERT_EQ(attempt(all, never[i]), EPERM);
        }
}

TEST(what_some_need_only_they_may) {
        static const struct {
                attempt_t what;
                unsigned need;
        } calls[] = {
                { open_local, SANDBOX_MODULES }, { load_module, SANDBOX_MODULES }, { load_program, SANDBOX_BPF },
                { borrow, SANDBOX_OTHERS },      { ask_by_pidfd, SANDBOX_OTHERS }, { signal_by_pidfd, SANDBOX_KILL },
        };

        for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
                ASSERT_EQ(attempt(0, calls[i].what), EPERM);
                /* The arguments are wrong: who gets as far as the kernel hears that, or that there is no such call. */
                ASSERT_EQ(attempt(calls[i].need, calls[i].what), attempt_in(NULL, calls[i].what));
        }
        ASSERT_EQ(attempt(SANDBOX_OTHERS, signal_by_pidfd), EPERM);
}

TEST(what_all_need_goes) {
        ASSERT_EQ(attempt(0, read_file), 0);
        ASSERT_EQ(attempt(0, open_netlink), 0);
}

TEST(who_enters_later_is_no_freer) {
        _cleanup_(sandbox_freep) Sandbox *sandbox = NULL;

        ASSERT_OK(sandbox_new(0, &sandbox));
        for (int i = 0; i < 2; i++) {
                ASSERT_EQ(attempt_in(sandbox, open_internet), EPERM);
                ASSERT_EQ(attempt_in(sandbox, has_no_capability), 0);
        }
}

TEST(capabilities_that_are_not_needed_are_gone) {
        ASSERT_EQ(attempt(0, has_no_capability), 0);
        if (geteuid() == 0)
                ASSERT_EQ(attempt(SANDBOX_OTHERS, has_no_capability), EIO);
}
