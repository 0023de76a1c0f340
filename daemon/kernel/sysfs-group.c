/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

/* IOMMU groups, and what the machine has at all. */

#define IOMMU_GROUPS   "sys/kernel/iommu_groups"
#define SYSFS_FILE_MAX 4096 /* what a sysfs file shows is at most a page */

static int parse_regions(char *text, GroupFacts *g) {
        char *saved = NULL;

        for (char *line = strtok_r(text, "\n", &saved); line; line = strtok_r(NULL, "\n", &saved)) {
                ReservedRegion *region = &g->regions[g->n_regions];

                if (g->n_regions == GROUP_REGIONS_MAX)
                        return -E2BIG;
                if (sscanf(line, "%" SCNx64 " %" SCNx64 " %23s", &region->start, &region->end, region->type) != 3)
                        return -EBADMSG;
                g->n_regions++;
        }
        return 0;
}

int sysfs_read_group(int root_fd, int group, GroupFacts *ret) {
        GroupFacts g = { .id = group };
        _cleanup_close_ int fd = -EBADF;
        char text[SYSFS_FILE_MAX + 1];
        int r;

        (void) snprintf(text, sizeof(text), IOMMU_GROUPS "/%d", group);
        fd = openat(root_fd, text, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? -ENODEV : -errno;

        r = sysfs_read_optional(fd, "type", g.type, sizeof(g.type));
        if (r < 0)
                return r;

        r = sysfs_read_optional(fd, "name", text, sizeof(text));
        if (r < 0)
                return r;
        g.noiommu = strncmp(text, "vfio-noiommu", 12) == 0;

        r = sysfs_read_optional(fd, "reserved_regions", text, sizeof(text));
        if (r >= 0)
                r = parse_regions(text, &g);
        if (r < 0)
                return r;

        *ret = g;
        return 0;
}

static int exists(int dirfd, const char *path, bool *ret) {
        *ret = faccessat(dirfd, path, F_OK, 0) == 0;
        return *ret || errno == ENOENT ? 0 : -errno;
}

/* Groups without an IOMMU are VFIO's invention and say nothing about the machine. */
static int find_iommu(int root_fd, bool *ret) {
        _cleanup_closedir_ DIR *dir = NULL;
        char path[SYSFS_PATH_MAX], name[NAME_MAX_LEN];
        const char *entry;
        int r;

        *ret = false;
        r = sysfs_open_directory(root_fd, IOMMU_GROUPS, &dir);
        if (r < 0)
                return r == -ENOENT ? 0 : r;

        while (!*ret && (r = sysfs_next(dir, &entry)) > 0) {
                (void) snprintf(path, sizeof(path), "%.64s/name", entry);
                r = sysfs_read_optional(dirfd(dir), path, name, sizeof(name));
                if (r < 0)
                        return r;
                *ret = strncmp(name, "vfio-noiommu", 12) != 0;
        }
        return r < 0 ? r : 0;
}

/* A VFIO with character devices reserves numbers for them under this name, as soon as vfio.ko is there. */
static int find_cdev(int root_fd, bool *ret) {
        char text[SYSFS_FILE_MAX * 2];
        int r;

        r = sysfs_read_optional(root_fd, "proc/devices", text, sizeof(text));
        *ret = r > 0 && strstr(text, " vfio-dev\n");
        return r < 0 ? r : 0;
}

/* Each has its own. */
static int find_unsafe_interrupts(int root_fd, bool *ret) {
        static const char *const files[] = {
                "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
                "sys/module/iommufd/parameters/allow_unsafe_interrupts",
        };
        char text[8];
        int r = 0;

        *ret = false;
        for (size_t i = 0; r >= 0 && !*ret && i < ARRAY_SIZE(files); i++) {
                r = sysfs_read_optional(root_fd, files[i], text, sizeof(text));
                *ret = r > 0 && text[0] == 'Y';
        }
        return r < 0 ? r : 0;
}

/* On x86 the names of the interrupt controllers tell: "IR-IO-APIC" is remapped, "IO-APIC" is not. */
static int find_remapping(int root_fd, Remapping *ret) {
        _cleanup_closedir_ DIR *dir = NULL;
        char path[SYSFS_PATH_MAX], name[SYSFS_PATH_MAX];
        const char *entry;
        int r;

        *ret = REMAPPING_UNKNOWN;
        r = sysfs_open_directory(root_fd, "sys/kernel/irq", &dir);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        while (*ret != REMAPPING_ON && (r = sysfs_next(dir, &entry)) > 0) {
                (void) snprintf(path, sizeof(path), "%.64s/chip_name", entry);
                r = sysfs_read_optional(dirfd(dir), path, name, sizeof(name));
                if (r < 0)
                        return r;
                if (strncmp(name, "IR-", 3) == 0)
                        *ret = REMAPPING_ON;
                else if (streq(name, "IO-APIC"))
                        *ret = REMAPPING_OFF;
        }
        return r < 0 ? r : 0;
}

int sysfs_read_platform(int root_fd, Platform *ret) {
        Platform p = {};
        int r;

        r = find_iommu(root_fd, &p.iommu);
        if (r >= 0)
                r = exists(root_fd, "dev/iommu", &p.iommufd);
        if (r >= 0)
                r = exists(root_fd, "dev/vfio/vfio", &p.container);
        if (r >= 0)
                r = find_cdev(root_fd, &p.cdev);
        if (r >= 0)
                r = find_unsafe_interrupts(root_fd, &p.unsafe_interrupts);
        if (r >= 0)
                r = find_remapping(root_fd, &p.remapping);
        if (r >= 0)
                *ret = p;
        return r;
}
