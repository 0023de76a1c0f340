/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "sim/simkernel.h"

/* The twins of the operations of kernel.h, each in the file of its object, and what those files share. The table is in simkernel.c. */

static inline Sim *sim_of(Kernel *k) {
        return (Sim *) k;
}

/* Every operation that a worker may do begins with the one, which may return a negative errno to fail with, or not at all, and ends with
 * the other. */
int sim_enter(Sim *s, const char *op, SimDevice *d);
int sim_enter_device(Sim *s, const char *op, Address a, SimDevice **ret);
int sim_leave(Sim *s, int result);
/* The worker that came upon a lock: it waits for the device's holder, and is killed while it does. */
_Noreturn void sim_hang(Sim *s, const SimDevice *d);
/* Outside of a job nobody waits. */
void sim_wait_for_lock(Sim *s, const SimDevice *d);
/* Whose descriptors the operations open. */
int sim_caller(const Sim *s);

extern const KernelOps sim_ops;

/* sim-look.c */
int sim_op_list_devices(Kernel *k, Address **ret, size_t *ret_n);
int sim_op_read_device(Kernel *k, Address a, DeviceFacts *ret);
int sim_op_read_group(Kernel *k, int group, GroupFacts *ret);
int sim_op_read_host_uses(Kernel *k, Address a, HostUses *ret);
int sim_op_read_pasid_bits(Kernel *k, Address a, uint8_t *ret);
int sim_op_read_platform(Kernel *k, Platform *ret);
int sim_op_is_registered(Kernel *k, Address a);
int sim_op_check_fd(Kernel *k, int fd, FdKind kind, Address a, int group);

/* sim-driver.c */
int sim_op_load_module(Kernel *k, const char *module, char driver[NAME_MAX_LEN]);
int sim_op_set_override(Kernel *k, Address a, const char *driver);
int sim_op_unbind(Kernel *k, Address a);
int sim_op_bind(Kernel *k, Address a, const char *driver);
int sim_op_probe(Kernel *k, Address a);

/* sim-reset.c */
int sim_op_reset(Kernel *k, Address a);
int sim_op_reset_bus(Kernel *k, Address a);
int sim_op_reset_open(Kernel *k, int device_fd);
int sim_op_hot_reset(Kernel *k, int device_fd);

/* sim-virtual.c */
int sim_op_virtual_function(Kernel *k, Address a, unsigned i, Address *ret);
int sim_op_set_autoprobe(Kernel *k, Address a, bool on);
int sim_op_set_virtual_functions(Kernel *k, Address a, uint32_t n);

/* sim-open.c */
int sim_op_open_iommufd(Kernel *k, bool per_process);
int sim_op_watch_cdev(Kernel *k, Address a, int inotify_fd);
int sim_op_open_cdev(Kernel *k, Address a);
int sim_op_bind_iommufd(Kernel *k, int device_fd, int iommufd, const char *vf_token, BoundFacts *ret);
int sim_op_alloc_ioas(Kernel *k, int iommufd, uint32_t *ret_ioas);
int sim_op_attach(Kernel *k, int device_fd, uint32_t *pt);
void sim_op_close_fd(Kernel *k, int fd);
int sim_op_find_holders(Kernel *k, Address a, Holders *ret);

/* sim-pasid.c */
int sim_op_alloc_pasid_table(Kernel *k, int iommufd, uint32_t devid, uint32_t ioas, uint32_t *ret_pt);
int sim_op_attach_pasid(Kernel *k, int device_fd, uint32_t pt, uint32_t pasid);
int sim_op_detach_pasid(Kernel *k, int device_fd, uint32_t pasid);

/* sim-gate.c */
int sim_op_gate_load(Kernel *k);
int sim_op_gate_open(Kernel *k);
int sim_op_gate_unload(Kernel *k);
int sim_op_gate_set_lease(Kernel *k, const GateLease *l);
int sim_op_gate_drop_lease(Kernel *k, const char *id);
int sim_op_gate_read_lease(Kernel *k, const char *id, PasidCounts *ret);
int sim_op_gate_read_level(Kernel *k, uint64_t cgroup_id, PasidCounts *ret);
int sim_op_gate_list_leases(Kernel *k, char (**ret)[LEASE_ID_LEN + 1], size_t *ret_n);
int sim_op_gate_set_limit(Kernel *k, const PasidLimit *l);
int sim_op_gate_keep_limits(Kernel *k, uint64_t *ids, size_t n);
int sim_op_gate_note_nodes(Kernel *k);

/* sim-process.c */
int sim_op_open_process(Kernel *k, int pid, ProcessFacts *ret);
int sim_op_kill_process(Kernel *k, int pidfd);
int sim_op_kill_cgroup(Kernel *k, const char *path, uint64_t id);
int sim_op_request_device(Kernel *k, Address a, int pid);

/* sim-legacy.c */
int sim_op_set_node_user(Kernel *k, int group, uid_t uid);
int sim_op_open_container(Kernel *k);
int sim_op_watch_group(Kernel *k, int group, int inotify_fd);
int sim_op_open_group(Kernel *k, int group);
int sim_op_set_container(Kernel *k, int group_fd, int container_fd);
int sim_op_open_by_group(Kernel *k, int group_fd, int container_fd, Address a, BoundFacts *ret);
