/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "kernel/fdcheck.h"
#include "kernel/sysfs.h"
#include "util/fd.h"

static int read_device_number(int root_fd, Address a, dev_t *ret) {
        _cleanup_close_ int device = sysfs_open_device(root_fd, a);
        char name[NAME_MAX_LEN];
        int r;

        if (device < 0)
                return device;
        r = sysfs_read_vfio(device, name, sizeof(name), ret);
        if (r < 0)
                return r;
        return name[0] == '\0' ? -ENOENT : 0;
}

/* The number that the kernel registered the node with. */
static int read_number(int root_fd, FdKind kind, Address a, int group, dev_t *ret) {
        char path[64];

        switch (kind) {
        case FD_IOMMUFD:
                return sysfs_read_devnum(root_fd, "sys/class/misc/iommu/dev", ret);
        case FD_CONTAINER:
                return sysfs_read_devnum(root_fd, "sys/class/misc/vfio/dev", ret);
        case FD_GROUP:
                (void) snprintf(path, sizeof(path), "sys/class/vfio/%d/dev", group);
                return sysfs_read_devnum(root_fd, path, ret);
        case FD_DEVICE:
                return read_device_number(root_fd, a, ret);
        default:
                return -EINVAL;
        }
}

int fdcheck_run(int root_fd, int fd, FdKind kind, Address a, int group) {
        int flags = fcntl(fd, F_GETFL), r;
        struct stat st;
        dev_t number;

        r = read_number(root_fd, kind, a, group, &number);
        if (r < 0)
                return r;
        /* An O_PATH descriptor has the number as well, and is of no use. */
        if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) != O_RDWR || fstat(fd, &st) < 0)
                return -EBADF;
        return S_ISCHR(st.st_mode) && st.st_rdev == number ? 0 : -EBADF;
}
