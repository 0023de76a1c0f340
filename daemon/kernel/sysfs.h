/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <dirent.h>
#include <sys/types.h>

#include "core/facts.h"

/* Reading and writing below /sys, or below a directory that stands for / (root_fd). */

/* --- the operations of KernelOps --- */

int sysfs_list_devices(int root_fd, Address **ret, size_t *ret_n);
int sysfs_read_device(int root_fd, Address a, DeviceFacts *ret);
int sysfs_read_pasid_bits(int root_fd, Address a, uint8_t *ret);
int sysfs_is_registered(int root_fd, Address a);
int sysfs_read_group(int root_fd, int group, GroupFacts *ret);
int sysfs_read_platform(int root_fd, Platform *ret);
int sysfs_set_override(int root_fd, Address a, const char *driver);
int sysfs_unbind(int root_fd, Address a);
int sysfs_bind(int root_fd, Address a, const char *driver);
int sysfs_probe(int root_fd, Address a);
int sysfs_reset(int root_fd, Address a);
int sysfs_reset_bus(int root_fd, Address a);
int sysfs_virtual_function(int root_fd, Address a, unsigned i, Address *ret);
int sysfs_set_autoprobe(int root_fd, Address a, bool on);
int sysfs_set_virtual_functions(int root_fd, Address a, uint32_t n);

/* --- for the other files here --- */

#define SYSFS_PCI_DEVICES "sys/bus/pci/devices"
#define SYSFS_PCI_DRIVERS "sys/bus/pci/drivers"
#define SYSFS_PATH_MAX    256 /* enough for every path put together here: names are bounded by NAME_MAX_LEN */

/* The directory of a device as an O_PATH descriptor; -ENODEV if there is none. */
int sysfs_open_device(int root_fd, Address a);

/* -ENOENT if there is no such directory. */
int sysfs_open_directory(int dirfd, const char *path, DIR **ret);

/* The next entry that is not hidden: 1 with its name, which lives until the next call, 0 at the end, or a negative
 * errno. */
int sysfs_next(DIR *dir, const char **ret_name);

/* The last component of what a link points to. -ENOENT if there is no link. */
int sysfs_read_link_name(int dirfd, const char *path, char *buf, size_t size);

/* fd_read_text(), but a file that does not exist reads as "". */
int sysfs_read_optional(int dirfd, const char *path, char *buf, size_t size);

/* A "dev" file, "259:1". -ENOENT if there is none. */
int sysfs_read_devnum(int dirfd, const char *path, dev_t *ret);

/* True if name can be one component of a path below /sys: a driver or a module. */
bool sysfs_name_is_valid(const char *name);

/* The VFIO character device of a PCI device, as its directory in sysfs shows it: name is "" if there is none.
 * Returns whether there is a VFIO device at all: kernels without the character devices have the directory too. */
int sysfs_read_vfio(int device_fd, char *name, size_t size, dev_t *ret_number);

/* The number of the device's IOMMU group, -1 if it has none. */
int sysfs_read_group_number(int device_fd, int *ret);

static inline void sysfs_closedirp(DIR **d) {
        if (*d)
                closedir(*d);
}
#define _cleanup_closedir_ _cleanup_(sysfs_closedirp)
