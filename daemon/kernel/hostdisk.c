/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kernel/hostuse.h"
#include "kernel/proc.h"
#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

#define HOLDER_DEPTH_MAX 16    /* a partition, RAID, encryption, LVM, a snapshot: real stacks end at about six */
#define LINE_MAX_SIZE    16384 /* overlays have long ones, but only in the options at the end */

/* What a block device on top of others is, in words: "the LVM volume vg0-root (dm-0)". */
static int describe_volume(int fd, const char *name, char *buf, size_t size) {
        static const struct {
                const char *prefix, *what;
        } kinds[] = {
                { "LVM-", "the LVM volume" },
                { "CRYPT-", "the encrypted volume" },
                { "mpath-", "the multipath device" },
                { "", "the device-mapper volume" },
        };
        char uuid[192], label[192];
        int r;

        buf[0] = '\0';
        r = fd_read_text(fd, "dm/name", label, sizeof(label));
        if (r < 0 && r != -ENOENT)
                return r;
        if (r == -ENOENT) {
                text_append(buf, size, "%s%s", faccessat(fd, "md", F_OK, 0) == 0 ? "the RAID array " : "", name);
                return 0;
        }
        r = sysfs_read_optional(fd, "dm/uuid", uuid, sizeof(uuid));
        if (r < 0)
                return r;

        proc_unescape(label);
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
                if (strncmp(uuid, kinds[i].prefix, strlen(kinds[i].prefix)) == 0) {
                        text_append(buf, size, "%s %s (%s)", kinds[i].what, label, name);
                        break;
                }
        return 0;
}

static int collect_holders(HostSearch *s, int fd, const char *name, unsigned depth);

/* One of the holders of the block device "name". */
static int collect_holder(HostSearch *s, const char *holder, const char *name, unsigned depth) {
        _cleanup_close_ int fd = -EBADF;
        char path[128], text[256];
        dev_t number;
        int r;

        (void) snprintf(path, sizeof(path), "sys/class/block/%.64s", holder);
        fd = openat(s->root_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;

        r = describe_volume(fd, holder, text, sizeof(text));
        if (r < 0)
                return r;
        hostuse_add(s, "disk", "%s is part of %s", name, text);

        r = sysfs_read_devnum(fd, "dev", &number);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (!hostuse_add_node(s, holder, number, S_IFBLK, true))
                return 0; /* a volume on several partitions was here before */
        return collect_holders(s, fd, holder, depth + 1);
}

static int collect_holders(HostSearch *s, int fd, const char *name, unsigned depth) {
        _cleanup_closedir_ DIR *dir = NULL;
        const char *holder;
        int r;

        if (depth > HOLDER_DEPTH_MAX) {
                s->incomplete = true;
                return 0;
        }
        r = sysfs_open_directory(fd, "holders", &dir);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        while ((r = sysfs_next(dir, &holder)) > 0) {
                r = collect_holder(s, holder, name, depth);
                if (r < 0)
                        return r;
        }
        return r;
}

/* A file system on several devices, of which mountinfo names one at most: Btrfs lists them all. */
static int check_btrfs(HostSearch *s, const char *name) {
        _cleanup_closedir_ DIR *dir = NULL;
        char path[160];
        const char *uuid;
        int r;

        r = sysfs_open_directory(s->root_fd, "sys/fs/btrfs", &dir);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        while ((r = sysfs_next(dir, &uuid)) > 0) {
                (void) snprintf(path, sizeof(path), "%.64s/devices/%s", uuid, name);
                if (faccessat(dirfd(dir), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                        hostuse_add(s, "disk", "%s is part of the mounted Btrfs file system %.40s", name, uuid);
                else if (errno != ENOENT && errno != ENOTDIR)
                        return -errno;
        }
        return r;
}

static int collect_block(HostSearch *s, int fd, const char *name) {
        dev_t number;
        int r;

        r = sysfs_read_devnum(fd, "dev", &number);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (!hostuse_add_node(s, name, number, S_IFBLK, false))
                return 0;
        r = collect_holders(s, fd, name, 0);
        return r < 0 ? r : check_btrfs(s, name);
}

static int collect_disk(HostSearch *s, int fd, const char *name) {
        _cleanup_closedir_ DIR *dir = NULL;
        char path[NAME_MAX_LEN + 16];
        const char *entry;
        int r;

        r = collect_block(s, fd, name);
        if (r < 0)
                return r;
        r = sysfs_open_directory(fd, ".", &dir);
        if (r < 0)
                return r;
        while ((r = sysfs_next(dir, &entry)) > 0) {
                _cleanup_close_ int partition = -EBADF;

                (void) snprintf(path, sizeof(path), "%.64s/partition", entry);
                if (faccessat(fd, path, F_OK, 0) < 0)
                        continue; /* a file, or some other directory */
                partition = openat(fd, entry, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (partition < 0)
                        return -errno;
                r = collect_block(s, partition, entry);
                if (r < 0)
                        return r;
        }
        return r;
}

int hostdisk_collect(HostSearch *s, int dirfd, const char *name) {
        unsigned subsystem, controller, namespace;
        _cleanup_close_ int fd = -EBADF;
        char head[32], path[64];
        int end = 0;

        /* With NVMe multipath (which many drives get, with a single path) the disk hangs below a virtual device. At the
         * controller there is just a hidden "nvme0c1n2", and "nvme0n2" is the disk. */
        if (sscanf(name, "nvme%uc%un%u%n", &subsystem, &controller, &namespace, &end) != 3 || name[end] != '\0')
                return collect_disk(s, dirfd, name);

        (void) snprintf(head, sizeof(head), "nvme%un%u", subsystem, namespace);
        (void) snprintf(path, sizeof(path), "sys/class/block/%s", head);
        fd = openat(s->root_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        return collect_disk(s, fd, head);
}

static const HostNode *find_block(const HostSearch *s, dev_t number) {
        for (size_t i = 0; i < s->n_nodes; i++)
                if (s->nodes[i].type == S_IFBLK && s->nodes[i].number == number)
                        return &s->nodes[i];
        return NULL;
}

/* The block device that an absolute path from /proc is, by number: the name may be a link of udev's or LVM's. */
static const HostNode *find_path(const HostSearch *s, const char *path) {
        struct stat st;

        if (path[0] != '/' || fstatat(s->root_fd, path + 1, &st, AT_NO_AUTOMOUNT) < 0 || !S_ISBLK(st.st_mode))
                return NULL;
        return find_block(s, st.st_rdev);
}

/* 36 35 259:1 / /srv rw,noatime shared:1 - ext4 /dev/nvme0n1p1 rw */
static void check_mount(HostSearch *s, char *line) {
        unsigned major_number, minor_number;
        const HostNode *node = NULL;
        char *point, *rest, source[512] = "";
        int at = 0;

        if (sscanf(line, "%*u %*u %u:%u %*s %n", &major_number, &minor_number, &at) != 2 || at == 0)
                return;
        point = line + at;
        rest = strchr(point, ' ');
        if (!rest)
                return;
        *rest++ = '\0';

        node = find_block(s, makedev(major_number, minor_number));
        /* Btrfs and others have a number of their own: there only the source tells. Looked at for these alone, because
         * a path of a network file system is a path as well. */
        rest = strstr(rest, "- ");
        if (!node && major_number == 0 && rest && sscanf(rest, "- %*s %511s", source) == 1 &&
            strncmp(source, "/dev/", 5) == 0) {
                proc_unescape(source);
                node = find_path(s, source);
        }
        if (!node)
                return;
        proc_unescape(point);
        hostuse_add(s, "disk", "%s is mounted on %s", node->name, point);
}

static int read_mounts(HostSearch *s) {
        _cleanup_fclose_ FILE *f = NULL;
        char line[LINE_MAX_SIZE];
        int r;

        r = proc_open(s->root_fd, "proc/self/mountinfo", &f);
        if (r < 0)
                return r;
        while ((r = proc_next_line(f, line, sizeof(line))) > 0)
                check_mount(s, line);
        return r;
}

/* A swap file lies on a mounted file system: only partitions and volumes are of interest. */
static int read_swap(HostSearch *s) {
        _cleanup_fclose_ FILE *f = NULL;
        char line[LINE_MAX_SIZE];
        int r;

        r = proc_open(s->root_fd, "proc/swaps", &f);
        if (r < 0)
                return r == -ENOENT ? 0 : r; /* a kernel without swap */
        while ((r = proc_next_line(f, line, sizeof(line))) > 0) {
                const HostNode *node;

                line[strcspn(line, " \t")] = '\0';
                proc_unescape(line);
                node = find_path(s, line);
                if (node)
                        hostuse_add(s, "disk", "%s is used as swap space", node->name);
        }
        return r;
}

int hostdisk_read(HostSearch *s) {
        int r;

        if (s->n_nodes == 0)
                return 0;
        r = read_mounts(s);
        return r < 0 ? r : read_swap(s);
}
