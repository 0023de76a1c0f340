/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "kernel/sysfs.h"
#include "util/fd.h"

/* SR-IOV: the virtual functions of a physical one. */

int sysfs_virtual_function(int root_fd, Address a, unsigned i, Address *ret) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        char link[32], name[NAME_MAX_LEN];
        int r;

        if (fd < 0)
                return fd;
        (void) snprintf(link, sizeof(link), "virtfn%u", i);
        r = sysfs_read_link_name(fd, link, name, sizeof(name));
        return r < 0 ? r : address_parse(name, ret);
}

int sysfs_set_autoprobe(int root_fd, Address a, bool on) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        char was[16];
        int r;

        if (fd < 0)
                return fd;
        r = fd_read_text(fd, "sriov_drivers_autoprobe", was, sizeof(was));
        if (r >= 0)
                r = fd_write_text(fd, "sriov_drivers_autoprobe", on ? "1" : "0");
        return r < 0 ? r : !streq(was, "0");
}

int sysfs_set_virtual_functions(int root_fd, Address a, uint32_t n) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        char text[16];

        if (fd < 0)
                return fd;
        (void) snprintf(text, sizeof(text), "%u", n);
        return fd_write_text(fd, "sriov_numvfs", text);
}
