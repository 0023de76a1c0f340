/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "kernel/holders.h"
#include "kernel/proc.h"
#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

typedef struct Search {
        int root_fd;
        Address address;
        dev_t cdev, group; /* 0: the device has none */
        Holders *found;
} Search;

/* Since 7.2 at the latest the kernel says in fdinfo which device a VFIO descriptor is of: "vfio-device-syspath:
 * /sys/devices/pci0000:00/0000:01:00.0". For those of the legacy interface, which are anonymous inodes, there is no
 * other way; and while an unbind waits for the last descriptor, the character device has left sysfs already but this
 * line is still right. Older kernels have no such line: there only the group's node, which such a process mostly keeps
 * open, gives it away. */
static int is_named_in_fdinfo(const Search *s, const ProcFile *file) {
        static const char key[] = "vfio-device-syspath:";
        char path[64], text[8192], *line, *end, *slash;
        int r;

        (void) snprintf(path, sizeof(path), "../fdinfo/%.16s", file->name);
        r = fd_read_text(file->fd_dir, path, text, sizeof(text));
        if (r == -ENOENT || r == -ESRCH)
                return 0; /* closed meanwhile */
        if (r < 0)
                return r;

        line = strstr(text, key);
        if (!line)
                return 0;
        end = line + strcspn(line, "\n");
        *end = '\0';
        slash = strrchr(line, '/');
        return slash && streq(slash + 1, ADDRESS(s->address));
}

static int add(Search *s, int pid) {
        Holders *h = s->found;
        int r;

        for (size_t i = 0; i < h->n; i++)
                if (h->holders[i].pid == pid)
                        return 0;
        if (h->n == HOLDERS_MAX) {
                h->more = true;
                return 0;
        }
        r = proc_read_process(s->root_fd, pid, &h->holders[h->n]);
        if (r == -ESRCH)
                return 0;
        if (r < 0)
                return r;
        h->n++;
        return 0;
}

static int look_at(const ProcFile *file, void *userdata) {
        Search *s = userdata;
        dev_t number;
        int r;

        /* "/dev/vfio/devices/vfio0", "/dev/vfio/22", "anon_inode:[vfio-device]". Not just what begins with /dev/vfio/:
         * in the mount namespace of a container the same node can have another path. */
        if (!strstr(file->link, "vfio"))
                return 0;

        r = proc_file_device(file, S_IFCHR, &number);
        if (r < 0)
                return r;
        if (r > 0 && ((s->cdev != 0 && number == s->cdev) || (s->group != 0 && number == s->group)))
                return add(s, file->pid);

        r = is_named_in_fdinfo(s, file);
        return r > 0 ? add(s, file->pid) : r;
}

/* The node of the device's group, /dev/vfio/22, as the kernel registered it: no other process can put another one
 * there. */
static int read_group_node(Search *s, int device_fd) {
        char path[64];
        int r, group;

        r = sysfs_read_group_number(device_fd, &group);
        if (r < 0 || group < 0)
                return r;
        (void) snprintf(path, sizeof(path), "sys/class/vfio/%d/dev", group);
        r = sysfs_read_devnum(s->root_fd, path, &s->group);
        if (r == -ENOENT) {
                (void) snprintf(path, sizeof(path), "sys/class/vfio/noiommu-%d/dev", group);
                r = sysfs_read_devnum(s->root_fd, path, &s->group);
        }
        return r == -ENOENT ? 0 : r;
}

int holders_find(int root_fd, Address a, Holders *ret) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a);
        Search s = { .root_fd = root_fd, .address = a, .found = ret };
        char name[NAME_MAX_LEN];
        int r;

        *ret = (Holders) {};
        if (fd < 0)
                return fd;
        r = sysfs_read_vfio(fd, name, sizeof(name), &s.cdev);
        if (r < 0)
                return r;
        r = read_group_node(&s, fd);
        if (r < 0)
                return r;
        return proc_for_each_file(root_fd, look_at, &s);
}
