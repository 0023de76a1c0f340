/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "core/facts.h"
#include "core/fdname.h"
#include "core/lease.h"
#include "core/pasid.h"

/* The one door to the kernel. Two implementations stand behind it: Linux (linux.c) and the simulator of the tests.
 *
 * Each operation returns 0 (or what it says) or a negative errno as the kernel gave it. Those under "looking" are quick and
 * may be called from the event loop, but never for a device that a worker is at work on: some sysfs attributes take the
 * device's lock, and a worker stuck in unbind holds it (drivers/base/dd.c). Those under "changing" can sleep for a minute or
 * for ever and are called in worker processes only. */

typedef struct Kernel Kernel;

#define KERNEL_NOBODY ((uid_t) - 1)

typedef struct KernelOps {
        /* --- looking --- */

        /* All PCI devices, in the order of their addresses; *ret is to be freed. */
        int (*list_devices)(Kernel *k, Address **ret, size_t *ret_n);
        /* -ENODEV if there is no such device (any more). */
        int (*read_device)(Kernel *k, Address a, DeviceFacts *ret);
        int (*read_group)(Kernel *k, int group, GroupFacts *ret);
        /* What the host uses the device for: mounts, swap, volumes, addresses, routes, console, enabled VFs, open nodes. */
        int (*read_host_uses)(Kernel *k, Address a, HostUses *ret);
        int (*read_platform)(Kernel *k, Platform *ret);
        /* The address of the i-th virtual function, from 0 on; -ENOENT: it has not so many. */
        int (*virtual_function)(Kernel *k, Address a, unsigned i, Address *ret);

        /* Has it a VFIO device? Not while its driver is being taken from it. Takes no lock: for devices, too, that somebody works on. */
        int (*is_registered)(Kernel *k, Address a);

        /* Is a descriptor that an earlier daemon had what it is taken for: an iommufd, a container, the device of that address or
         * that group? 0, or -EBADF or the errno of looking. */
        int (*check_fd)(Kernel *k, int fd, FdKind kind, Address a, int group);

        /* --- changing, and quick as well: it is of devtmpfs and of no driver --- */

        /* Which user may open the node of a group beside root and whom its mode lets in: this one, or KERNEL_NOBODY. Returns how many
         * others could until now. -ENOENT: there is no node, since no device of the group is on a VFIO driver. */
        int (*set_node_user)(Kernel *k, int group, uid_t uid);

        /* --- changing: drivers --- */

        /* Loads a module (no error if it is built in or loaded). driver gets the name under which it drives PCI devices:
         * "vfio-pci" for vfio_pci. -ENOENT: no such module. */
        int (*load_module)(Kernel *k, const char *module, char driver[NAME_MAX_LEN]);
        /* "" clears. Written before unbind, so that no module load can bind another driver in between. */
        int (*set_override)(Kernel *k, Address a, const char *driver);
        /* From whatever driver it has; 0 if it has none. On a VFIO driver with an open descriptor this blocks for ever. */
        int (*unbind)(Kernel *k, Address a);
        /* -ENODEV: the driver does not take it; -ENOENT: no such driver; -EBUSY: the group is owned by user space. */
        int (*bind)(Kernel *k, Address a, const char *driver);
        /* Lets the kernel choose a driver, as at boot. No driver is no error. */
        int (*probe)(Kernel *k, Address a);
        /* Function reset by the first method that works. -ENOTTY: the device has none. */
        int (*reset)(Kernel *k, Address a);
        /* Resets everything below the bridge above a. -ENOTTY: there is none. */
        int (*reset_bus)(Kernel *k, Address a);
        /* Width of the PASID capability, 0 without one, as configuration space says. To read there wakes a device that sleeps, waits
         * for the end of a reset, and is slow if the device is dead. */
        int (*read_pasid_bits)(Kernel *k, Address a, uint8_t *ret);
        /* Processes that hold the VFIO device or its group open; descriptors in flight are not to be seen. Reads all of /proc. */
        int (*find_holders)(Kernel *k, Address a, Holders *ret);

        /* --- changing: processes that do not let go --- */

        /* A pidfd of a process, and what it is while that lives. -ESRCH: there is none. */
        int (*open_process)(Kernel *k, int pid, ProcessFacts *ret);
        /* SIGKILL; waits a moment for the end. -ESRCH: it has ended before. */
        int (*kill_process)(Kernel *k, int pidfd);
        /* cgroup.kill. -ESTALE: the cgroup of this path is not that of this id (any more). */
        int (*kill_cgroup)(Kernel *k, const char *path, uint64_t id);
        /* VFIO's device request: tells whoever listens (QEMU does) to let go of a. By a descriptor that this process has of it and that
         * is borrowed for the moment. -ENOENT: it has none; -EINVAL: nobody listens. */
        int (*request_device)(Kernel *k, Address a, int pid);

        /* --- changing: virtual functions --- */

        /* Whether the kernel looks for drivers for the virtual functions of a. Returns what it was, 0 or 1. */
        int (*set_autoprobe)(Kernel *k, Address a, bool on);
        /* sriov_numvfs. They are there, with their groups, when it returns. -ENOENT: a's driver makes none; -EBUSY: it has others
         * already. Waits for whoever has one open that is to go, and locks out all hotplug of the machine while it does. */
        int (*set_virtual_functions)(Kernel *k, Address a, uint32_t n);

        /* --- changing: descriptors; the caller closes them by close_fd --- */

        /* A fresh iommufd; accounts locked memory per process instead of per user if asked to (needs CAP_SYS_RESOURCE). */
        int (*open_iommufd)(Kernel *k, bool per_process);
        /* Adds a watch for IN_CLOSE_WRITE on the device's VFIO node to an inotify descriptor; returns the watch descriptor. Quick,
         * unlike the others here. */
        int (*watch_cdev)(Kernel *k, Address a, int inotify_fd);
        /* Opens the VFIO character device, checked against its device number. -ENOENT: it has none. */
        int (*open_cdev)(Kernel *k, Address a);
        /* VFIO_DEVICE_BIND_IOMMUFD, and what the kernel then knows about the device. Resets the device. vf_token: a UUID, or "" for
         * none: a physical function gets it, a virtual function whose physical one is on VFIO shows it (-EACCES: it is another). */
        int (*bind_iommufd)(Kernel *k, int device_fd, int iommufd, const char *vf_token, BoundFacts *ret);
        int (*alloc_ioas)(Kernel *k, int iommufd, uint32_t *ret_ioas);
        /* VFIO_DEVICE_ATTACH_IOMMUFD_PT to an IOAS or HWPT; *pt becomes the id that the kernel attached to. */
        int (*attach)(Kernel *k, int device_fd, uint32_t *pt);
        /* A page table over the IOAS, for a bound device, that PASIDs can be attached to. -EOPNOTSUPP: not with this device. */
        int (*alloc_pasid_table)(Kernel *k, int iommufd, uint32_t devid, uint32_t ioas, uint32_t *ret_pt);
        /* -EDQUOT: the lease of the device has not booked that many. -EINVAL: the table is none for PASIDs, or the PASID too large. */
        int (*attach_pasid)(Kernel *k, int device_fd, uint32_t pt, uint32_t pasid);
        /* One that is not attached is no error. */
        int (*detach_pasid)(Kernel *k, int device_fd, uint32_t pasid);
        /* VFIO_DEVICE_RESET of a bound device, the only one that may be done under a client. -ENOTTY: it has none. */
        int (*reset_open)(Kernel *k, int device_fd);
        /* VFIO_DEVICE_PCI_HOT_RESET of a bound device's reset set, by the right of its iommufd. -ENODEV: neither its slot nor its bus
         * can be reset; -EINVAL: not all of the set is the iommufd's. */
        int (*hot_reset)(Kernel *k, int device_fd);
        void (*close_fd)(Kernel *k, int fd);

        /* --- the same by the legacy interface: whoever has the group opens every device in it that is on a VFIO driver --- */

        /* -ENOENT: this kernel has none. */
        int (*open_container)(Kernel *k);
        /* Adds a watch for IN_CLOSE_WRITE on the group's node to an inotify descriptor; returns the watch descriptor. */
        int (*watch_group)(Kernel *k, int group, int inotify_fd);
        /* Opens the group's node, checked against its device number. -EBUSY: somebody has the group or a device of it open. */
        int (*open_group)(Kernel *k, int group);
        /* VFIO_GROUP_SET_CONTAINER: claims the group for as long as it is open. -EPERM: it is not viable, or owned. */
        int (*set_container)(Kernel *k, int group_fd, int container_fd);
        /* Gives the container its type (TYPE1v2), opens the device and asks what the kernel then knows about it. Resets the device.
         * -EPERM: its interrupts are not isolated. */
        int (*open_by_group)(Kernel *k, int group_fd, int container_fd, Address a, BoundFacts *ret);

        /* --- the gate, which holds leases to their PASIDs; see kernel/gate.h. Quick, but for gate_load() and gate_unload() --- */

        /* Puts it into the kernel, if it is not there: it outlives the daemon. */
        int (*gate_load)(Kernel *k);
        /* Takes up the one that is there. */
        int (*gate_open)(Kernel *k);
        /* Only while no lease depends on it and no daemon has taken it up; -EBUSY otherwise. */
        int (*gate_unload)(Kernel *k);
        /* Tells it of a lease, or of its new limit, devices and cgroups. */
        int (*gate_set_lease)(Kernel *k, const GateLease *l);
        /* An earlier version of it that no lease depends on any more goes. */
        int (*gate_drop_lease)(Kernel *k, const char *id);
        int (*gate_read_lease)(Kernel *k, const char *id, PasidCounts *ret);
        /* Of a cgroup that a lease was charged to at any time; -ENOENT: of none that the gate knows. */
        int (*gate_read_level)(Kernel *k, uint64_t cgroup_id, PasidCounts *ret);
        int (*gate_list_leases)(Kernel *k, char (**ret)[LEASE_ID_LEN + 1], size_t *ret_n);
        /* Tells it of a cgroup, or of its new limit and bookings. Whoever books tells first and reads what SVA has (gate_read_level())
         * afterwards, and the gate counts first and reads what is booked afterwards: of two that want the last one, at least one sees
         * the other. */
        int (*gate_set_limit)(Kernel *k, const PasidLimit *l);
        /* It forgets all other cgroups, and sorts ids. */
        int (*gate_keep_limits)(Kernel *k, uint64_t *ids, size_t n);
        /* Looks which character devices have SVA, and tells it. */
        int (*gate_note_nodes)(Kernel *k);
} KernelOps;

struct Kernel {
        const KernelOps *ops;
};

/* The running kernel. root is "" or a directory that stands for / (tests). Free with kernel_linux_free(). */
int kernel_linux_new(const char *root, Kernel **ret);
Kernel *kernel_linux_free(Kernel *k);
