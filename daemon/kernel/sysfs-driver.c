/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <unistd.h>

#include "kernel/sysfs.h"
#include "util/fd.h"

/* Drivers and resets: the half of sysfs.h that writes. What sleeps here, sleeps in the kernel: see "changing" in
 * kernel.h. */

/* A file that is missing is missing because the device left, or because the kernel has nothing to offer there. */
static int missing(int device_fd, int otherwise) {
        return faccessat(device_fd, "vendor", F_OK, 0) == 0 ? otherwise : -ENODEV;
}

/* 1 if the device has this driver (NULL: any), 0 if not. */
static int has_driver(int device_fd, const char *driver) {
        char name[NAME_MAX_LEN];
        int r;

        r = sysfs_read_link_name(device_fd, "driver", name, sizeof(name));
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        return !driver || streq(name, driver);
}

int sysfs_set_override(int root_fd, Address a, const char *driver) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        int r;

        if (fd < 0)
                return fd;
        if (driver[0] != '\0' && !sysfs_name_is_valid(driver))
                return -EINVAL;

        /* An empty write() never reaches the kernel; a newline is how it wants to be told "none". */
        r = fd_write_text(fd, "driver_override", driver[0] == '\0' ? "\n" : driver);
        return r == -ENOENT ? missing(fd, r) : r;
}

int sysfs_unbind(int root_fd, Address a) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        int r, bound;

        if (fd < 0)
                return fd;

        r = fd_write_text(fd, "driver/unbind", ADDRESS(a));
        if (r != -ENOENT && r != -ENODEV)
                return r;

        /* Without a driver there is nothing to do, and ENODEV is what the kernel says if somebody else was faster. Just
         * after boot a driver can be there while its "unbind" is not: the module is still being initialized. An unbind
         * that waits in the driver has taken the link away already (Linux 7.2), so it cannot be told from one that is
         * over. */
        bound = has_driver(fd, NULL);
        if (bound < 0)
                return bound;
        return bound ? r : missing(fd, 0);
}

int sysfs_bind(int root_fd, Address a, const char *driver) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        char path[SYSFS_PATH_MAX];
        int r;

        if (fd < 0)
                return fd;
        if (!sysfs_name_is_valid(driver))
                return -EINVAL;

        /* Having it already is what was asked for; the kernel would say EBUSY, as it does if another driver has the
         * device. */
        r = has_driver(fd, driver);
        if (r != 0)
                return r < 0 ? r : 0;

        (void) snprintf(path, sizeof(path), SYSFS_PCI_DRIVERS "/%s/bind", driver);
        r = fd_write_text(root_fd, path, ADDRESS(a));
        if (r < 0)
                return r;

        r = has_driver(fd, driver);
        if (r < 0)
                return r;
        return r ? 0 : -ENODEV;
}

int sysfs_probe(int root_fd, Address a) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        int r;

        if (fd < 0)
                return fd;

        /* Whatever made the chosen driver fail, drivers_probe says EINVAL (drivers/base/bus.c, Linux 7.2). The caller
         * looks at the driver afterwards anyway: to have none is no error here. */
        r = fd_write_text(root_fd, "sys/bus/pci/drivers_probe", ADDRESS(a));
        return r == -EINVAL ? missing(fd, 0) : r;
}

int sysfs_reset(int root_fd, Address a) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        int r;

        if (fd < 0)
                return fd;
        r = fd_write_text(fd, "reset", "1");
        return r == -ENOENT ? missing(fd, -ENOTTY) : r;
}

int sysfs_reset_bus(int root_fd, Address a) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        int r;

        if (fd < 0)
                return fd;
        /* Above a device on a root bus is the host bridge, which has no such file. */
        r = fd_write_text(fd, "../reset_subordinate", "1");
        return r == -ENOENT ? missing(fd, -ENOTTY) : r;
}
