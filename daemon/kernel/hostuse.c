/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "kernel/hostdisk.h"
#include "kernel/hostnet.h"
#include "kernel/hostuse.h"
#include "kernel/proc.h"
#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

#define DEPTH_MAX       24 /* a USB device behind seven hubs, with all that is in it, is at about 20 */
#define DIRECTORIES_MAX 20000

/* A frame buffer matters if the text console draws on it; which one it draws on the kernel does not say. */
static int add_frame_buffer(HostSearch *s, const char *name) {
        _cleanup_closedir_ DIR *dir = NULL;
        char path[128], text[128];
        const char *entry;
        int r;

        r = sysfs_open_directory(s->root_fd, "sys/class/vtconsole", &dir);
        if (r < 0)
                return r == -ENOENT ? 0 : r;

        while ((r = sysfs_next(dir, &entry)) > 0) {
                (void) snprintf(path, sizeof(path), "%.64s/name", entry);
                r = sysfs_read_optional(dirfd(dir), path, text, sizeof(text));
                if (r < 0)
                        return r;
                if (!strstr(text, "frame buffer"))
                        continue;
                (void) snprintf(path, sizeof(path), "%.64s/bind", entry);
                r = sysfs_read_optional(dirfd(dir), path, text, sizeof(text));
                if (r < 0)
                        return r;
                if (streq(text, "1"))
                        hostsearch_add(s, "console", "%s shows the text console", name);
        }
        return r;
}

static int add_console(HostSearch *s, const char *name) {
        char text[4096], path[80];
        int r;

        r = sysfs_read_optional(s->root_fd, "proc/consoles", text, sizeof(text));
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof(path), "%s ", name);
        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, path, strlen(path)) == 0)
                        hostsearch_add(s, "console", "%s is a console of the system", name);
        }
        return 0;
}

/* What is in a directory of the device's tree, by its subsystem. 1: look below it too, 0: no. */
static int collect_one(HostSearch *s, int fd, const char *name) {
        char subsystem[NAME_MAX_LEN];
        dev_t number;
        int r;

        r = sysfs_read_link_name(fd, "subsystem", subsystem, sizeof(subsystem));
        if (r == -ENOENT)
                return 1;
        if (r < 0)
                return r;

        if (streq(subsystem, "block"))
                return hostdisk_collect(s, fd, name);
        if (streq(subsystem, "net"))
                return hostnet_collect(s, fd, name);
        if (streq(subsystem, "vfio-dev"))
                return 0; /* it is there because of us, or of another VMM: find_holders tells */

        r = sysfs_read_devnum(fd, "dev", &number);
        if (r == -ENOENT)
                return 1;
        if (r < 0)
                return r;
        (void) hostsearch_add_node(s, name, number, S_IFCHR, false);
        if (streq(subsystem, "tty"))
                r = add_console(s, name);
        else if (streq(subsystem, "graphics"))
                r = add_frame_buffer(s, name);
        return r < 0 ? r : 1;
}

static int collect(HostSearch *s, int fd, unsigned depth);

static int collect_entry(HostSearch *s, int dirfd, const char *name, unsigned depth) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                /* Files and links; and what has just gone uses nothing any more. */
                return errno == ENOTDIR || errno == ELOOP || errno == ENOENT || errno == ENODEV ? 0 : -errno;
        if (depth > DEPTH_MAX || ++s->directories > DIRECTORIES_MAX) {
                s->incomplete = true;
                return 0;
        }

        r = collect_one(s, fd, name);
        if (r <= 0)
                return r == -ENODEV ? 0 : r;
        return collect(s, fd, depth);
}

static bool is_dull(const char *name, unsigned depth) {
        Address a;

        /* Below a bridge are other PCI devices, which have uses of their own. (Not so below a VMD: there they stand one
         * level deeper, and are lost with it.) */
        if (depth == 0 && address_parse(name, &a) >= 0)
                return true;
        return streq(name, "power") || streq(name, "msi_irqs") || streq(name, "statistics");
}

/* The interfaces of other network namespaces are hidden from us, but not the directory they stand in. Its links count them
 * all, and two for itself. */
static int check_hidden_nets(HostSearch *s, int device_fd) {
        _cleanup_closedir_ DIR *dir = NULL;
        const char *name;
        nlink_t n = 0;
        struct stat st;
        int r;

        r = sysfs_open_directory(device_fd, "net", &dir);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        while ((r = sysfs_next(dir, &name)) > 0)
                n++;
        if (r < 0)
                return r;
        if (fstat(dirfd(dir), &st) < 0)
                return -errno;
        if (n == 0 || st.st_nlink > n + 2)
                hostsearch_add(s, "network", "a network interface of it is in another network namespace");
        return 0;
}

static int collect(HostSearch *s, int fd, unsigned depth) {
        _cleanup_closedir_ DIR *dir = NULL;
        const char *name;
        int r;

        r = sysfs_open_directory(fd, ".", &dir);
        if (r < 0)
                return r == -ENOENT || r == -ENODEV ? 0 : r;
        while ((r = sysfs_next(dir, &name)) > 0) {
                if (is_dull(name, depth))
                        continue;
                r = collect_entry(s, dirfd(dir), name, depth + 1);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r == -ENOENT || r == -ENODEV ? 0 : r;
        return check_hidden_nets(s, fd);
}

/* udev opens every new block device for a moment to see what is on it, and right after a driver was bound it would always be
 * found. Another look of ours does likewise (try_to_claim). Neither is a use. */
static bool is_passer_by(const Holder *h, const HostNode *node) {
        return node->type == S_IFBLK && h->uid == 0 &&
               (streq(h->name, "(udev-worker)") || streq(h->name, "systemd-udevd") || streq(h->name, "iommud-worker"));
}

static int look_at_file(const ProcFile *file, void *userdata) {
        HostSearch *s = userdata;
        Holder h;
        dev_t number;
        mode_t type = proc_file_device(file, &number);
        int r;

        if (type == 0)
                return 0;
        for (size_t i = 0; i < s->n_nodes; i++) {
                const HostNode *node = &s->nodes[i];

                if (node->number != number || node->type != type || node->below)
                        continue;
                r = proc_read_process(s->root_fd, file->pid, &h);
                if (r < 0)
                        return r == -ESRCH ? 0 : r;
                if (!is_passer_by(&h, node))
                        hostsearch_add(s, "open", "%s is held open by %s (pid %d)", node->name, h.name, h.pid);
        }
        return 0;
}

static int add_facts(HostSearch *s, int root_fd, Address a) {
        DeviceFacts f;
        int r;

        r = sysfs_read_device(root_fd, a, &f);
        if (r < 0)
                return r;
        if (f.boot_display)
                hostsearch_add(s, "console", "it is the display that the firmware started with");
        if (f.virtual_functions > 0)
                hostsearch_add(s, "functions", "%u of its virtual functions %s enabled", f.virtual_functions,
                               f.virtual_functions == 1 ? "is" : "are");
        return 0;
}

int hostuse_read(int root_fd, Address a, HostUses *ret) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        _cleanup_free_ HostSearch *s = NULL;
        int r;

        *ret = (HostUses) {};
        if (fd < 0)
                return fd;
        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->root_fd = root_fd;
        s->uses = ret;

        r = collect(s, fd, 0);
        if (r >= 0)
                r = hostdisk_read(s);
        if (r >= 0)
                r = hostnet_read(s);
        if (r >= 0)
                r = add_facts(s, root_fd, a);
        if (r >= 0 && s->n_nodes > 0)
                r = proc_for_each_file(root_fd, look_at_file, s);
        if (r < 0)
                return r;
        if (s->incomplete)
                hostsearch_add(s, "unknown", "it has more below it in /sys than can be looked through");
        return 0;
}
