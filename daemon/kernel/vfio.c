/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "kernel/iommufd.h"
#include "kernel/sysfs.h"
#include "kernel/uapi.h"
#include "kernel/vfio.h"
#include "util/fd.h"

#define HOT_RESET_TRIES 8

/* Opens the device's node with the given flags and makes sure that it is the device that sysfs shows: numbers are given
 * out again, and /dev is not the kernel's alone. */
static int open_node(int root_fd, Address a, int flags) {
        _cleanup_close_ int device = sysfs_open_device(root_fd, a), fd = -EBADF;
        char name[NAME_MAX_LEN], path[128];
        struct stat st;
        dev_t number;
        int r;

        if (device < 0)
                return device;
        r = sysfs_read_vfio(device, name, sizeof(name), &number);
        if (r < 0)
                return r;
        if (name[0] == '\0')
                return -ENOENT;

        (void) snprintf(path, sizeof(path), "dev/vfio/devices/%s", name);
        fd = openat(root_fd, path, flags | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISCHR(st.st_mode) || st.st_rdev != number)
                return -ESTALE;
        return TAKE_FD(fd);
}

int vfio_watch_cdev(int root_fd, Address a, int inotify_fd) {
        _cleanup_close_ int fd = open_node(root_fd, a, O_PATH);
        char path[64];
        int wd;

        if (fd < 0)
                return fd;

        /* By way of /proc, so that what is watched is what was checked. */
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        wd = inotify_add_watch(inotify_fd, path, IN_CLOSE_WRITE);
        return wd < 0 ? -errno : wd;
}

int vfio_open_cdev(int root_fd, Address a) {
        return open_node(root_fd, a, O_RDWR);
}

static int read_info(int device_fd, BoundFacts *f) {
        struct vfio_device_info info = { .argsz = sizeof(info) };

        if (ioctl(device_fd, VFIO_DEVICE_GET_INFO, &info) < 0)
                return -errno;
        f->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
        return 0;
}

/* Asks for the devices that a hot reset of this one would reset, with room for n of them. 1: answered, 0: not possible.
 */
static int ask_hot_reset(int device_fd, struct vfio_pci_hot_reset_info *info, size_t n) {
        *info = (struct vfio_pci_hot_reset_info) {
                .argsz = (uint32_t) (sizeof(*info) + n * sizeof(struct vfio_pci_dependent_device)),
        };
        if (ioctl(device_fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info) >= 0)
                return 1;
        /* ENODEV: neither slot nor bus can be reset; EPERM: a device of the set has no IOMMU group; ENOTTY: no PCI
         * device. */
        return errno == ENODEV || errno == EPERM || errno == ENOTTY ? 0 : -errno;
}

static int read_hot_reset(int device_fd, BoundFacts *f) {
        size_t n = 16;
        int r = -EAGAIN;

        /* ENOSPC: the set is larger. EAGAIN: it changed while the kernel looked. */
        for (unsigned i = 0; i < HOT_RESET_TRIES && (r == -EAGAIN || r == -ENOSPC); i++) {
                _cleanup_free_ struct vfio_pci_hot_reset_info *info = NULL;

                info = malloc(sizeof(*info) + n * sizeof(struct vfio_pci_dependent_device));
                if (!info)
                        return -ENOMEM;
                r = ask_hot_reset(device_fd, info, n);
                if (r == -ENOSPC)
                        n = (info->count > n ? info->count : n) + 16;
                if (r > 0) {
                        f->hot_reset_possible = true;
                        f->hot_reset_owned = info->flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
                }
        }
        return r < 0 ? r : 0;
}

int vfio_bind_iommufd(int device_fd, int iommufd, BoundFacts *ret) {
        struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };
        BoundFacts f = {};
        int r;

        if (ioctl(device_fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) < 0)
                return -errno;
        f.devid = bind.out_devid;

        r = read_info(device_fd, &f);
        if (r >= 0)
                r = iommufd_read_pasid_bits(iommufd, f.devid, &f.pasid_bits);
        if (r >= 0)
                r = read_hot_reset(device_fd, &f);
        if (r >= 0)
                *ret = f;
        return r;
}

int vfio_attach(int device_fd, uint32_t *pt) {
        struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach), .pt_id = *pt };

        if (ioctl(device_fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) < 0)
                return -errno;
        *pt = attach.pt_id;
        return 0;
}
