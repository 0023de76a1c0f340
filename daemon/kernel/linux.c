/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "kernel/holders.h"
#include "kernel/hostuse.h"
#include "kernel/iommufd.h"
#include "kernel/linux.h"
#include "kernel/module.h"
#include "kernel/sysfs.h"
#include "kernel/vfio.h"
#include "util/fd.h"

static int root_of(Kernel *k) {
        return ((LinuxKernel *) k)->root_fd;
}

static int linux_list_devices(Kernel *k, Address **ret, size_t *ret_n) {
        return sysfs_list_devices(root_of(k), ret, ret_n);
}

static int linux_read_device(Kernel *k, Address a, DeviceFacts *ret) {
        return sysfs_read_device(root_of(k), a, ret);
}

static int linux_read_group(Kernel *k, int group, GroupFacts *ret) {
        return sysfs_read_group(root_of(k), group, ret);
}

static int linux_read_host_uses(Kernel *k, Address a, HostUses *ret) {
        return hostuse_read(root_of(k), a, ret);
}

static int linux_read_platform(Kernel *k, Platform *ret) {
        return sysfs_read_platform(root_of(k), ret);
}

static int linux_load_module(Kernel *k, const char *module, char driver[NAME_MAX_LEN]) {
        return module_load(root_of(k), ((LinuxKernel *) k)->running, module, driver);
}

static int linux_set_override(Kernel *k, Address a, const char *driver) {
        return sysfs_set_override(root_of(k), a, driver);
}

static int linux_unbind(Kernel *k, Address a) {
        return sysfs_unbind(root_of(k), a);
}

static int linux_bind(Kernel *k, Address a, const char *driver) {
        return sysfs_bind(root_of(k), a, driver);
}

static int linux_probe(Kernel *k, Address a) {
        return sysfs_probe(root_of(k), a);
}

static int linux_reset(Kernel *k, Address a) {
        return sysfs_reset(root_of(k), a);
}

static int linux_reset_bus(Kernel *k, Address a) {
        return sysfs_reset_bus(root_of(k), a);
}

static int linux_find_holders(Kernel *k, Address a, Holders *ret) {
        return holders_find(root_of(k), a, ret);
}

static int linux_open_iommufd(Kernel *k, bool per_process) {
        return iommufd_open(root_of(k), per_process);
}

static int linux_watch_cdev(Kernel *k, Address a, int inotify_fd) {
        return vfio_watch_cdev(root_of(k), a, inotify_fd);
}

static int linux_open_cdev(Kernel *k, Address a) {
        return vfio_open_cdev(root_of(k), a);
}

static int linux_bind_iommufd(Kernel *k _unused_, int device_fd, int iommufd, BoundFacts *ret) {
        return vfio_bind_iommufd(device_fd, iommufd, ret);
}

static int linux_alloc_ioas(Kernel *k _unused_, int iommufd, uint32_t *ret_ioas) {
        return iommufd_alloc_ioas(iommufd, ret_ioas);
}

static int linux_attach(Kernel *k _unused_, int device_fd, uint32_t *pt) {
        return vfio_attach(device_fd, pt);
}

static void linux_close_fd(Kernel *k _unused_, int fd) {
        fd_close(fd);
}

static const KernelOps linux_ops = {
        .list_devices = linux_list_devices,
        .read_device = linux_read_device,
        .read_group = linux_read_group,
        .read_host_uses = linux_read_host_uses,
        .read_platform = linux_read_platform,
        .load_module = linux_load_module,
        .set_override = linux_set_override,
        .unbind = linux_unbind,
        .bind = linux_bind,
        .probe = linux_probe,
        .reset = linux_reset,
        .reset_bus = linux_reset_bus,
        .find_holders = linux_find_holders,
        .open_iommufd = linux_open_iommufd,
        .watch_cdev = linux_watch_cdev,
        .open_cdev = linux_open_cdev,
        .bind_iommufd = linux_bind_iommufd,
        .alloc_ioas = linux_alloc_ioas,
        .attach = linux_attach,
        .close_fd = linux_close_fd,
};

int kernel_linux_new(const char *root, Kernel **ret) {
        _cleanup_close_ int fd = -EBADF;
        LinuxKernel *l;

        fd = open(isempty(root) ? "/" : root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;

        l->kernel.ops = &linux_ops;
        l->running = isempty(root) || streq(root, "/");
        l->root_fd = TAKE_FD(fd);
        *ret = &l->kernel;
        return 0;
}

Kernel *kernel_linux_free(Kernel *k) {
        if (k) {
                fd_close(root_of(k));
                free((LinuxKernel *) k);
        }
        return NULL;
}
