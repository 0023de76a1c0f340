/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "kernel/fdcheck.h"
#include "kernel/holders.h"
#include "kernel/hostuse.h"
#include "kernel/iommufd.h"
#include "kernel/legacy.h"
#include "kernel/linux.h"
#include "kernel/module.h"
#include "kernel/process.h"
#include "kernel/sysfs.h"
#include "kernel/vfio.h"
#include "util/fd.h"

static int root_of(Kernel *k) {
        return ((LinuxKernel *) k)->root_fd;
}

static Gate *gate_of(Kernel *k) {
        return &((LinuxKernel *) k)->gate;
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

static int linux_check_fd(Kernel *k, int fd, FdKind kind, Address a, int group) {
        return fdcheck_run(root_of(k), fd, kind, a, group);
}

static int linux_set_node_user(Kernel *k, int group, uid_t uid) {
        return legacy_set_node_user(root_of(k), group, uid);
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

static int linux_read_pasid_bits(Kernel *k, Address a, uint8_t *ret) {
        return sysfs_read_pasid_bits(root_of(k), a, ret);
}

static int linux_find_holders(Kernel *k, Address a, Holders *ret) {
        return holders_find(root_of(k), a, ret);
}

static int linux_is_registered(Kernel *k, Address a) {
        return sysfs_is_registered(root_of(k), a);
}

static int linux_open_process(Kernel *k, int pid, ProcessFacts *ret) {
        return process_open(root_of(k), pid, ret);
}

static int linux_kill_process(Kernel *k _unused_, int pidfd) {
        return process_kill(pidfd);
}

static int linux_kill_cgroup(Kernel *k, const char *path, uint64_t id) {
        return process_kill_cgroup(root_of(k), path, id);
}

static int linux_request_device(Kernel *k, Address a, int pid) {
        return holders_request(root_of(k), a, pid);
}

static int linux_virtual_function(Kernel *k, Address a, unsigned i, Address *ret) {
        return sysfs_virtual_function(root_of(k), a, i, ret);
}

static int linux_set_autoprobe(Kernel *k, Address a, bool on) {
        return sysfs_set_autoprobe(root_of(k), a, on);
}

static int linux_set_virtual_functions(Kernel *k, Address a, uint32_t n) {
        return sysfs_set_virtual_functions(root_of(k), a, n);
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

static int linux_bind_iommufd(Kernel *k _unused_, int device_fd, int iommufd, const char *vf_token, BoundFacts *ret) {
        return vfio_bind_iommufd(device_fd, iommufd, vf_token, ret);
}

static int linux_alloc_ioas(Kernel *k _unused_, int iommufd, uint32_t *ret_ioas) {
        return iommufd_alloc_ioas(iommufd, ret_ioas);
}

static int linux_attach(Kernel *k _unused_, int device_fd, uint32_t *pt) {
        return vfio_attach(device_fd, pt);
}

static int linux_alloc_pasid_table(Kernel *k _unused_, int iommufd, uint32_t devid, uint32_t ioas, uint32_t *ret_pt) {
        return iommufd_alloc_pasid_table(iommufd, devid, ioas, ret_pt);
}

static int linux_attach_pasid(Kernel *k _unused_, int device_fd, uint32_t pt, uint32_t pasid) {
        return vfio_attach_pasid(device_fd, pt, pasid);
}

static int linux_detach_pasid(Kernel *k _unused_, int device_fd, uint32_t pasid) {
        return vfio_detach_pasid(device_fd, pasid);
}

static int linux_reset_open(Kernel *k _unused_, int device_fd) {
        return vfio_reset(device_fd);
}

static int linux_hot_reset(Kernel *k _unused_, int device_fd) {
        return vfio_hot_reset(device_fd);
}

static void linux_close_fd(Kernel *k _unused_, int fd) {
        fd_close(fd);
}

static int linux_open_container(Kernel *k) {
        return legacy_open_container(root_of(k));
}

static int linux_watch_group(Kernel *k, int group, int inotify_fd) {
        return legacy_watch_group(root_of(k), group, inotify_fd);
}

static int linux_open_group(Kernel *k, int group) {
        return legacy_open_group(root_of(k), group);
}

static int linux_set_container(Kernel *k _unused_, int group_fd, int container_fd) {
        return legacy_set_container(group_fd, container_fd);
}

static int linux_open_by_group(Kernel *k _unused_, int group_fd, int container_fd, Address a, BoundFacts *ret) {
        return legacy_open_device(group_fd, container_fd, a, ret);
}

static int linux_gate_load(Kernel *k) {
        return ((LinuxKernel *) k)->running ? gate_load() : -EOPNOTSUPP;
}

static int linux_gate_open(Kernel *k) {
        return ((LinuxKernel *) k)->running ? gate_open(gate_of(k)) : -EOPNOTSUPP;
}

static int linux_gate_unload(Kernel *k) {
        return ((LinuxKernel *) k)->running ? gate_unload() : -EOPNOTSUPP;
}

static int linux_gate_set_lease(Kernel *k, const GateLease *l) {
        return gate_set_lease(gate_of(k), l);
}

static int linux_gate_drop_lease(Kernel *k, const char *id) {
        return gate_drop_lease(gate_of(k), id);
}

static int linux_gate_read_lease(Kernel *k, const char *id, PasidCounts *ret) {
        return gate_read_lease(gate_of(k), id, ret);
}

static int linux_gate_read_level(Kernel *k, uint64_t cgroup_id, PasidCounts *ret) {
        return gate_read_level(gate_of(k), cgroup_id, ret);
}

static int linux_gate_list_leases(Kernel *k, char (**ret)[LEASE_ID_LEN + 1], size_t *ret_n) {
        return gate_list_leases(gate_of(k), ret, ret_n);
}

static int linux_gate_set_limit(Kernel *k, const PasidLimit *l) {
        return gate_set_limit(gate_of(k), l);
}

static int linux_gate_keep_limits(Kernel *k, uint64_t *ids, size_t n) {
        return gate_keep_limits(gate_of(k), ids, n);
}

static int linux_gate_note_nodes(Kernel *k) {
        return gate_note_nodes(gate_of(k), root_of(k));
}

static const KernelOps linux_ops = {
        .list_devices = linux_list_devices,
        .read_device = linux_read_device,
        .read_group = linux_read_group,
        .read_host_uses = linux_read_host_uses,
        .read_platform = linux_read_platform,
        .check_fd = linux_check_fd,
        .set_node_user = linux_set_node_user,
        .load_module = linux_load_module,
        .set_override = linux_set_override,
        .unbind = linux_unbind,
        .bind = linux_bind,
        .probe = linux_probe,
        .reset = linux_reset,
        .reset_bus = linux_reset_bus,
        .read_pasid_bits = linux_read_pasid_bits,
        .find_holders = linux_find_holders,
        .is_registered = linux_is_registered,
        .open_process = linux_open_process,
        .kill_process = linux_kill_process,
        .kill_cgroup = linux_kill_cgroup,
        .request_device = linux_request_device,
        .virtual_function = linux_virtual_function,
        .set_autoprobe = linux_set_autoprobe,
        .set_virtual_functions = linux_set_virtual_functions,
        .open_iommufd = linux_open_iommufd,
        .watch_cdev = linux_watch_cdev,
        .open_cdev = linux_open_cdev,
        .bind_iommufd = linux_bind_iommufd,
        .alloc_ioas = linux_alloc_ioas,
        .attach = linux_attach,
        .alloc_pasid_table = linux_alloc_pasid_table,
        .attach_pasid = linux_attach_pasid,
        .detach_pasid = linux_detach_pasid,
        .reset_open = linux_reset_open,
        .hot_reset = linux_hot_reset,
        .close_fd = linux_close_fd,
        .open_container = linux_open_container,
        .watch_group = linux_watch_group,
        .open_group = linux_open_group,
        .set_container = linux_set_container,
        .open_by_group = linux_open_by_group,
        .gate_load = linux_gate_load,
        .gate_open = linux_gate_open,
        .gate_unload = linux_gate_unload,
        .gate_set_lease = linux_gate_set_lease,
        .gate_drop_lease = linux_gate_drop_lease,
        .gate_read_lease = linux_gate_read_lease,
        .gate_read_level = linux_gate_read_level,
        .gate_list_leases = linux_gate_list_leases,
        .gate_set_limit = linux_gate_set_limit,
        .gate_keep_limits = linux_gate_keep_limits,
        .gate_note_nodes = linux_gate_note_nodes,
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
        l->gate = GATE_CLOSED;
        *ret = &l->kernel;
        return 0;
}

Kernel *kernel_linux_free(Kernel *k) {
        if (k) {
                gate_close(gate_of(k));
                fd_close(root_of(k));
                free((LinuxKernel *) k);
        }
        return NULL;
}
