/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <unistd.h>

#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

/* PCI devices as /sys shows them. */

static int read_hex(int dirfd, const char *path, uint64_t max, uint64_t *ret) {
        char text[32];
        int r = fd_read_text(dirfd, path, text, sizeof(text));

        return r < 0 ? r : text_to_hex(text, max, ret);
}

static int link_name_optional(int dirfd, const char *path, char *buf, size_t size) {
        int r = sysfs_read_link_name(dirfd, path, buf, size);

        if (r == -ENOENT) {
                buf[0] = '\0';
                return 0;
        }
        return r;
}

/* True while the device is there: the directory behind a descriptor stays when the device goes, but without its files.
 */
static bool device_exists(int device_fd) {
        return faccessat(device_fd, "vendor", F_OK, 0) == 0;
}

static int compare_addresses(const void *a, const void *b) {
        return address_compare(*(const Address *) a, *(const Address *) b);
}

int sysfs_list_devices(int root_fd, Address **ret, size_t *ret_n) {
        _cleanup_closedir_ DIR *dir = NULL;
        _cleanup_free_ Address *list = NULL;
        size_t n = 0, allocated = 0;
        const char *name;
        int r;

        r = sysfs_open_directory(root_fd, SYSFS_PCI_DEVICES, &dir);
        if (r < 0 && r != -ENOENT)
                return r;

        while (dir && (r = sysfs_next(dir, &name)) != 0) {
                if (r < 0)
                        return r;
                if (n == allocated) {
                        Address *more = reallocarray(list, allocated += 64, sizeof(Address));

                        if (!more)
                                return -ENOMEM;
                        list = more;
                }
                /* All that stands there is a device: an address in a form that we do not know must not go unseen. */
                r = address_parse(name, &list[n++]);
                if (r < 0)
                        return r;
        }

        if (n > 0)
                qsort(list, n, sizeof(Address), compare_addresses);
        *ret = TAKE_PTR(list);
        *ret_n = n;
        return 0;
}

static int read_identity(int fd, DeviceFacts *f) {
        const struct {
                const char *name;
                uint16_t *value;
        } ids[] = {
                { "vendor", &f->vendor },
                { "device", &f->device },
                { "subsystem_vendor", &f->subsystem_vendor },
                { "subsystem_device", &f->subsystem_device },
        };
        uint64_t v;
        int r;

        for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
                r = read_hex(fd, ids[i].name, UINT16_MAX, &v);
                if (r < 0)
                        return r;
                *ids[i].value = (uint16_t) v;
        }

        r = read_hex(fd, "class", 0xffffff, &v);
        if (r < 0)
                return r;
        f->class = (uint32_t) v;

        r = fd_read_text(fd, "modalias", f->modalias, sizeof(f->modalias));
        return r < 0 ? r : 0;
}

int sysfs_read_vfio(int device_fd, char *name, size_t size, dev_t *ret_number) {
        _cleanup_closedir_ DIR *dir = NULL;
        char path[SYSFS_PATH_MAX];
        const char *entry;
        int r;

        name[0] = '\0';
        *ret_number = 0;
        r = sysfs_open_directory(device_fd, "vfio-dev", &dir);
        if (r == -ENOENT)
                return false;
        if (r < 0)
                return r;

        do
                r = sysfs_next(dir, &entry);
        while (r > 0 && !strstr(entry, "vfio")); /* not "power" and the like, should they ever stand there */
        if (r <= 0)
                return r;

        /* One that is being unregistered: the kernel tells of it (device_del, Linux 7.2) after its attributes have gone, but before
         * its directory has, and then waits for whoever has it open. Nobody would tell once more. */
        (void) snprintf(path, sizeof(path), "vfio-dev/%.64s/uevent", entry);
        if (faccessat(device_fd, path, F_OK, 0) < 0)
                return errno == ENOENT ? false : -errno;

        /* Linux 7.3 gives devices without an IOMMU character devices named noiommu-vfioN. CAP_SYS_RAWIO is asked for at
         * open only, so whoever opens one for somebody else gives that away: for us they do not exist. */
        if (strncmp(entry, "noiommu-", 8) == 0)
                return true;

        (void) snprintf(path, sizeof(path), "vfio-dev/%.64s/dev", entry);
        r = sysfs_read_devnum(device_fd, path, ret_number);
        if (r == -ENOENT)
                return true; /* CONFIG_VFIO_DEVICE_CDEV is not set */
        if (r < 0)
                return r;
        return text_copy(name, size, entry) ? true : -ENAMETOOLONG;
}

int sysfs_is_registered(int root_fd, Address a) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        char name[NAME_MAX_LEN];
        dev_t number;

        return fd < 0 ? fd : sysfs_read_vfio(fd, name, sizeof(name), &number);
}

/* The kernel takes any line that is shorter than a page. */
static int read_override(int fd, DeviceFacts *f) {
        int r = sysfs_read_optional(fd, "driver_override", f->driver_override, sizeof(f->driver_override));
        bool none = r >= 0 && (isempty(f->driver_override) || streq(f->driver_override, "(null)"));

        if (r < 0 && r != -E2BIG)
                return r;
        f->odd_override = r < 0 || (!none && !sysfs_name_is_valid(f->driver_override));
        if (none || f->odd_override)
                f->driver_override[0] = '\0';
        return 0;
}

static int read_driver(int fd, DeviceFacts *f) {
        dev_t number;
        int r, has_vfio;

        r = link_name_optional(fd, "driver", f->driver, sizeof(f->driver));
        if (r < 0)
                return r;

        r = read_override(fd, f);
        if (r < 0)
                return r;

        has_vfio = sysfs_read_vfio(fd, f->cdev, sizeof(f->cdev), &number);
        if (has_vfio < 0)
                return has_vfio;
        f->cdev_number = number;
        f->driver_kind = driver_kind_of(f->driver, has_vfio);
        return 0;
}

int sysfs_read_group_number(int device_fd, int *ret) {
        char name[NAME_MAX_LEN];
        uint64_t v;
        int r;

        *ret = -1;
        r = link_name_optional(device_fd, "iommu_group", name, sizeof(name));
        if (r < 0 || name[0] == '\0')
                return r;
        r = text_to_u64(name, INT32_MAX, &v);
        if (r < 0)
                return r;
        *ret = (int) v;
        return 0;
}

/* Above a device on a root bus is the host bridge's "pci0000:00" (or "pci10000:e0" below a VMD), else a PCI bridge. */
static int read_parent(int root_fd, DeviceFacts *f) {
        char path[SYSFS_PATH_MAX], target[PATH_MAX], *name, *parent;
        Address ignored;
        ssize_t n;

        (void) snprintf(path, sizeof(path), SYSFS_PCI_DEVICES "/%s", ADDRESS(f->address));
        n = readlinkat(root_fd, path, target, sizeof(target) - 1);
        if (n < 0)
                return errno == ENOENT ? -ENODEV : -errno;
        target[n] = '\0';

        name = strrchr(target, '/');
        if (!name)
                return -EBADMSG;
        *name = '\0';
        parent = strrchr(target, '/');
        f->on_root_bus = address_parse(parent ? parent + 1 : target, &ignored) < 0;
        return 0;
}

static int count_virtual_functions(int fd, uint32_t *ret) {
        _cleanup_closedir_ DIR *dir = NULL;
        const char *name;
        int r;

        r = sysfs_open_directory(fd, ".", &dir);
        if (r < 0)
                return r;
        while ((r = sysfs_next(dir, &name)) > 0)
                if (strncmp(name, "virtfn", 6) == 0)
                        (*ret)++;
        return r;
}

/* sriov_numvfs would say the number too, but takes the device's lock, which a driver stuck in unbind holds for ever. */
static int read_sriov(int fd, DeviceFacts *f) {
        char text[NAME_MAX_LEN];
        uint64_t v;
        int r;

        r = link_name_optional(fd, "physfn", text, sizeof(text));
        if (r < 0)
                return r;
        if (text[0] != '\0') {
                f->virtual_function = true;
                r = address_parse(text, &f->physical_function);
                if (r < 0)
                        return r;
        }

        r = sysfs_read_optional(fd, "sriov_totalvfs", text, sizeof(text));
        if (r <= 0)
                return r;
        r = text_to_u64(text, UINT16_MAX, &v);
        if (r < 0)
                return r;
        f->virtual_functions_max = (uint32_t) v;
        return count_virtual_functions(fd, &f->virtual_functions);
}

static int read_rest(int fd, DeviceFacts *f) {
        char text[32];
        int r;

        f->numa_node = -1;
        r = sysfs_read_optional(fd, "numa_node", text, sizeof(text));
        if (r < 0)
                return r;
        if (r > 0 && !streq(text, "-1")) {
                uint64_t v;

                r = text_to_u64(text, INT32_MAX, &v);
                if (r < 0)
                        return r;
                f->numa_node = (int) v;
        }

        r = sysfs_read_optional(fd, "boot_vga", text, sizeof(text));
        if (r < 0)
                return r;
        f->boot_display = streq(text, "1");

        r = sysfs_read_optional(fd, "reset_method", f->reset_methods, sizeof(f->reset_methods));
        return r < 0 ? r : 0;
}

int sysfs_read_device(int root_fd, Address a, DeviceFacts *ret) {
        DeviceFacts f = { .address = a };
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        int r;

        if (fd < 0)
                return fd;

        r = read_parent(root_fd, &f);
        if (r >= 0)
                r = read_driver(fd, &f);
        if (r >= 0)
                r = sysfs_read_group_number(fd, &f.group);
        if (r >= 0)
                r = read_sriov(fd, &f);
        if (r >= 0)
                r = read_rest(fd, &f);
        /* Last, because these must be there: if they are, what was missing above was not missing because the device
         * left. */
        if (r >= 0)
                r = read_identity(fd, &f);
        if (r < 0)
                return device_exists(fd) ? r : -ENODEV;

        *ret = f;
        return 0;
}

static int read_config(int fd, unsigned offset, uint32_t *ret) {
        uint32_t v;
        ssize_t n = pread(fd, &v, sizeof(v), offset);

        if (n < 0)
                return -errno;
        *ret = n == sizeof(v) ? le32toh(v) : 0;
        return 0;
}

/* Walks the extended capabilities in configuration space, which a conventional device does not have. A device that no
 * longer answers reads as all ones. Only the few words needed are read: each is an access to the hardware. */
int sysfs_read_pasid_bits(int root_fd, Address a, uint8_t *ret) {
        _cleanup_close_ int device_fd = sysfs_open_device(root_fd, a), fd = -EBADF;
        unsigned offset = PCI_CFG_SPACE_SIZE;
        uint32_t header = 0, capability = 0;
        int r;

        *ret = 0;
        if (device_fd < 0)
                return device_fd;
        fd = openat(device_fd, "config", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;

        /* A header and a register at least: so many fit, and a list with a loop ends. */
        for (unsigned i = 0; i < (PCI_CFG_SPACE_EXP_SIZE - PCI_CFG_SPACE_SIZE) / 8; i++) {
                r = read_config(fd, offset, &header);
                if (r < 0 || header == 0 || header == UINT32_MAX)
                        return r;
                if (PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_PASID) {
                        r = read_config(fd, offset + PCI_PASID_CAP, &capability);
                        *ret = (uint8_t) (capability >> 8 & 0x1f);
                        return r;
                }
                offset = PCI_EXT_CAP_NEXT(header);
                if (offset < PCI_CFG_SPACE_SIZE)
                        return 0;
        }
        return 0;
}
