/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "tree.h"

/* Descriptors that came back from systemd's store. /dev/null stands for an iommufd and for the group 22. */

#define GROUP 22

static void check_opened(const char *path, int flags, int should) {
        Address a = address("0000:00:02.1");
        int fd = open(path, flags | O_CLOEXEC);

        CHECK(fd >= 0);
        CHECK(kernel->ops->check_fd(kernel, fd, FD_IOMMUFD, a, -1) == should);
        CHECK(kernel->ops->check_fd(kernel, fd, FD_GROUP, a, GROUP) == should);
        CHECK(kernel->ops->check_fd(kernel, fd, FD_GROUP, a, GROUP + 1) == -ENOENT);
        CHECK(kernel->ops->check_fd(kernel, fd, FD_CONTAINER, a, -1) == -ENOENT);
        close(fd);
}

static void check_device(void) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        CHECK(kernel->ops->check_fd(kernel, fd, FD_DEVICE, address("0000:00:02.0"), -1) == -ENOENT);
        put(NIC "vfio-dev/vfio9/uevent", "");
        put(NIC "vfio-dev/vfio9/dev", "1:3\n");
        CHECK(kernel->ops->check_fd(kernel, fd, FD_DEVICE, address("0000:00:02.0"), -1) == 0);
        put(NIC "vfio-dev/vfio9/dev", "1:5\n");
        CHECK(kernel->ops->check_fd(kernel, fd, FD_DEVICE, address("0000:00:02.0"), -1) == -EBADF);
        CHECK(kernel->ops->check_fd(kernel, fd, FD_DEVICE, address("0000:00:1f.0"), -1) == -ENODEV);
        close(fd);
}

int main(void) {
        tree_begin();
        put_device(NIC, "0x020000\n");
        put("sys/class/misc/iommu/dev", "1:3\n");
        put("sys/class/vfio/22/dev", "1:3\n");

        check_opened("/dev/null", O_RDWR, 0);
        check_opened("/dev/null", O_RDONLY, -EBADF);
        check_opened("/dev/null", O_PATH, -EBADF);
        check_opened("/dev/zero", O_RDWR, -EBADF);
        check_opened("/", O_RDONLY, -EBADF);
        CHECK(kernel->ops->check_fd(kernel, -1, FD_IOMMUFD, address("0000:00:02.0"), -1) == -EBADF);
        check_device();
        tree_end();
        return 0;
}
