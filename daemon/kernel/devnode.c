/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "kernel/devnode.h"
#include "util/fd.h"

int devnode_open(int root_fd, const char *path, dev_t number, int flags) {
        _cleanup_close_ int fd = openat(root_fd, path, flags | O_CLOEXEC | O_NOFOLLOW);
        struct stat st;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISCHR(st.st_mode) || st.st_rdev != number)
                return -ESTALE;
        return TAKE_FD(fd);
}

const char *devnode_path(int fd, char path[static DEVNODE_PATH_MAX]) {
        (void) snprintf(path, DEVNODE_PATH_MAX, "/proc/self/fd/%d", fd);
        return path;
}

int devnode_watch(int fd, int inotify_fd) {
        char path[DEVNODE_PATH_MAX];
        int wd = inotify_add_watch(inotify_fd, devnode_path(fd, path), IN_CLOSE_WRITE);

        return wd < 0 ? -errno : wd;
}
