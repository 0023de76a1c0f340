/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/proc.h"
#include "kernel/process.h"
#include "util/fd.h"
#include "util/text.h"

int process_pidfd(int pid) {
        int fd = (int) syscall(SYS_pidfd_open, pid, 0);

        /* EINVAL: it is a thread's number now. */
        return fd >= 0 ? fd : errno == EINVAL ? -ESRCH : -errno;
}

int process_copy_fd(int pidfd, int fd) {
        int copy = (int) syscall(SYS_pidfd_getfd, pidfd, fd, 0);

        /* ESRCH: it has ended, and its descriptors with it. */
        return copy >= 0 ? copy : errno == ESRCH ? -EBADF : -errno;
}

/* Its descriptors are seen until it has closed them; one that takes longer is seen once more. */
#define END_MSEC 200

int process_kill(int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0)
                return -errno;
        (void) poll(&p, 1, END_MSEC);
        return 0;
}

int process_open(int root_fd, int pid, ProcessFacts *ret) {
        _cleanup_close_ int fd = process_pidfd(pid);
        ProcessFacts facts = { .pid = pid };
        Holder holder;
        int r;

        if (fd < 0)
                return fd;
        r = proc_read_process(root_fd, pid, &holder);
        if (r >= 0)
                r = proc_read_cgroup(root_fd, pid, facts.cgroup, sizeof(facts.cgroup));
        if (r < 0)
                return r;
        facts.uid = holder.uid;
        facts.id = fd_pidfd_id(fd);
        /* What was read by number is of this process if it is still there. */
        if (syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) < 0)
                return -errno;
        *ret = facts;
        return TAKE_FD(fd);
}

int process_kill_cgroup(int root_fd, const char *path, uint64_t id) {
        _cleanup_close_ int root = openat(root_fd, "sys/fs/cgroup", O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
        struct stat st;

        if (root < 0)
                return -errno;
        fd = openat(root, path + strspn(path, "/"), O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return errno == ENOENT ? -ESTALE : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        return st.st_ino == id ? fd_write_text(fd, "cgroup.kill", "1") : -ESTALE;
}
