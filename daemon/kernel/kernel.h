/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/facts.h"

/* The one door to the kernel. Two implementations stand behind it: Linux (linux.c) and the simulator of the tests.
 *
 * Each operation returns 0 (or what it says) or a negative errno as the kernel gave it. Those under "looking" are quick and
 * may be called from the event loop, but never for a device that a worker is at work on: some sysfs attributes take the
 * device's lock, and a worker stuck in unbind holds it (drivers/base/dd.c). Those under "changing" can sleep for a minute or
 * for ever and are called in worker processes only. */

typedef struct Kernel Kernel;

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
        /* Processes that hold the VFIO device or its group open; descriptors in flight are not to be seen. Reads all of /proc. */
        int (*find_holders)(Kernel *k, Address a, Holders *ret);

        /* --- changing: descriptors; the caller closes them by close_fd --- */

        /* A fresh iommufd; accounts locked memory per process instead of per user if asked to (needs CAP_SYS_RESOURCE). */
        int (*open_iommufd)(Kernel *k, bool per_process);
        /* Adds a watch for IN_CLOSE_WRITE on the device's VFIO node to an inotify descriptor; returns the watch descriptor. */
        int (*watch_cdev)(Kernel *k, Address a, int inotify_fd);
        /* Opens the VFIO character device, checked against its device number. -ENOENT: it has none. */
        int (*open_cdev)(Kernel *k, Address a);
        /* VFIO_DEVICE_BIND_IOMMUFD, and what the kernel then knows about the device. Resets the device. */
        int (*bind_iommufd)(Kernel *k, int device_fd, int iommufd, BoundFacts *ret);
        int (*alloc_ioas)(Kernel *k, int iommufd, uint32_t *ret_ioas);
        /* VFIO_DEVICE_ATTACH_IOMMUFD_PT to an IOAS or HWPT; *pt becomes the id that the kernel attached to. */
        int (*attach)(Kernel *k, int device_fd, uint32_t *pt);
        void (*close_fd)(Kernel *k, int fd);
} KernelOps;

struct Kernel {
        const KernelOps *ops;
};

/* The running kernel. root is "" or a directory that stands for / (tests). Free with kernel_linux_free(). */
int kernel_linux_new(const char *root, Kernel **ret);
Kernel *kernel_linux_free(Kernel *k);
