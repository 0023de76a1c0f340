/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

int sysfs_open_directory(int dirfd, const char *path, DIR **ret) {
        _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d;

        if (fd < 0)
                return -errno;
        d = fdopendir(fd);
        if (!d)
                return -errno;
        (void) TAKE_FD(fd);
        *ret = d;
        return 0;
}

int sysfs_next(DIR *dir, const char **ret_name) {
        const struct dirent *e;

        *ret_name = NULL;
        do {
                errno = 0;
                e = readdir(dir);
        } while (e && e->d_name[0] == '.');

        if (!e)
                return -errno;
        *ret_name = e->d_name;
        return 1;
}

int sysfs_read_link_name(int dirfd, const char *path, char *buf, size_t size) {
        char target[PATH_MAX];
        const char *slash;
        ssize_t n;

        n = readlinkat(dirfd, path, target, sizeof(target) - 1);
        if (n < 0)
                return -errno;
        target[n] = '\0';

        slash = strrchr(target, '/');
        return text_copy(buf, size, slash ? slash + 1 : target) ? 0 : -ENAMETOOLONG;
}

int sysfs_read_optional(int dirfd, const char *path, char *buf, size_t size) {
        int r = fd_read_text(dirfd, path, buf, size);

        if (r == -ENOENT) {
                buf[0] = '\0';
                return 0;
        }
        return r;
}

int sysfs_read_devnum(int dirfd, const char *path, dev_t *ret) {
        unsigned major_number, minor_number;
        char text[32];
        int r, end = 0;

        r = fd_read_text(dirfd, path, text, sizeof(text));
        if (r < 0)
                return r;
        if (sscanf(text, "%u:%u%n", &major_number, &minor_number, &end) != 2 || text[end] != '\0')
                return -EBADMSG;
        *ret = makedev(major_number, minor_number);
        return 0;
}

bool sysfs_name_is_valid(const char *name) {
        return name[0] != '\0' && name[0] != '.' && strlen(name) < NAME_MAX_LEN && !strchr(name, '/') &&
               text_is_printable(name);
}

int sysfs_open_device(int root_fd, Address a) {
        char path[SYSFS_PATH_MAX];
        int fd;

        (void) snprintf(path, sizeof(path), SYSFS_PCI_DEVICES "/%s", ADDRESS(a));
        fd = openat(root_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? -ENODEV : -errno;
        return fd;
}
