/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "kernel/hostdisk.h"
#include "kernel/proc.h"
#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

#define HOLDER_DEPTH_MAX 16    /* a partition, RAID, encryption, LVM, a snapshot: real stacks end at about six */
#define LINE_MAX_SIZE    16384 /* overlays have long ones, but only in the options at the end */
#define CLAIM_TRIES      10    /* 50 ms: of other looks none takes so long, */
#define CLAIM_SPARE      190 /* unless it is preempted while it has the disk open: a second more, for all disks together */

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
        hostsearch_add(s, "disk", "%s is part of %s", name, text);

        r = sysfs_read_devnum(fd, "dev", &number);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (!hostsearch_add_node(s, holder, number, S_IFBLK, true))
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
                        hostsearch_add(s, "disk", "%s is part of the mounted Btrfs file system %.40s", name, uuid);
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
        if (!hostsearch_add_node(s, name, number, S_IFBLK, false))
                return 0;
        r = collect_holders(s, fd, name, 0);
        return r < 0 ? r : check_btrfs(s, name);
}

static int collect_disk(HostSearch *s, int fd, const char *name) {
        _cleanup_closedir_ DIR *dir = NULL;
        char path[NAME_MAX_LEN + 16];
        size_t disk = s->n_nodes;
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
                if (disk < s->n_nodes)
                        s->nodes[disk].parted = true;
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
        hostsearch_add(s, "disk", "%s is mounted on %s", node->name, point);
}

static int read_mounts(HostSearch *s) {
        _cleanup_fclose_ FILE *f = NULL;
        char line[LINE_MAX_SIZE];
        int r;

        /* The host's: as a service we do not see what is below /home and /tmp. */
        r = proc_open(s->root_fd, "proc/1/mountinfo", &f);
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
                        hostsearch_add(s, "disk", "%s is used as swap space", node->name);
        }
        return r;
}

static bool is_told_of(const HostSearch *s, const HostNode *node) {
        size_t length = strlen(node->name);

        for (size_t i = 0; i < s->uses->n; i++)
                if (strncmp(s->uses->uses[i].text, node->name, length) == 0 && s->uses->uses[i].text[length] == ' ')
                        return true;
        return false;
}

static int claim(const HostSearch *s, const HostNode *node) {
        char path[NAME_MAX_LEN + 8];
        struct stat st;
        int fd;

        (void) snprintf(path, sizeof(path), "dev/%s", node->name);
        for (char *p = path + 4; *p; p++)
                if (*p == '!')
                        *p = '/';
        if (fstatat(s->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (!S_ISBLK(st.st_mode) || st.st_rdev != node->number)
                return -ESTALE;
        /* O_NONBLOCK: a drive need not have a medium, and its tray stays as it is. */
        fd = openat(s->root_fd, path, O_RDONLY | O_EXCL | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        fd_close(fd);
        return 0;
}

/* A file system, swap space or volume claims its disk for itself, in whatever namespace it was mounted, and then nobody
 * else can open it with O_EXCL: EBUSY. Since it is opened to be read, udev does not take its close for a change. A mount
 * at the very moment that it is open would fail, so it is closed at once; and another look may have it open likewise,
 * so EBUSY counts only if it stays. So does a node that is not there: the kernel makes it after the number in sysfs. */
static int try_to_claim(const HostSearch *s, const HostNode *node, unsigned *spare) {
        for (unsigned i = 0;; i++) {
                static const struct timespec pause = { .tv_nsec = 5000000 };
                int r = claim(s, node);

                if ((r != -EBUSY && r != -ENOENT && r != -ESTALE) || (i >= CLAIM_TRIES && *spare == 0))
                        return r;
                if (i >= CLAIM_TRIES)
                        (*spare)--;
                (void) nanosleep(&pause, NULL);
        }
}

static void read_claims(HostSearch *s) {
        unsigned spare = CLAIM_SPARE;

        for (size_t i = 0; i < s->n_nodes && !s->uses->more; i++) {
                const HostNode *node = &s->nodes[i];
                int r;

                if (node->type != S_IFBLK || node->below || node->parted || is_told_of(s, node))
                        continue;
                r = try_to_claim(s, node, &spare);
                if (r == -EBUSY)
                        hostsearch_add(s, "disk", "%s is in use out of sight, such as by a mount in another namespace",
                                       node->name);
                else if (r < 0 && r != -ENOMEDIUM && r != -ENXIO && r != -ENODEV)
                        hostsearch_add(s, "unknown", "%s cannot be opened to see whether it is in use: %s", node->name,
                                       strerror(-r));
        }
}

int hostdisk_read(HostSearch *s) {
        int r;

        if (s->n_nodes == 0)
                return 0;
        r = read_mounts(s);
        if (r >= 0)
                r = read_swap(s);
        if (r >= 0)
                read_claims(s);
        return r;
}
