/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/holders.h"
#include "kernel/proc.h"
#include "kernel/process.h"
#include "kernel/sysfs.h"
#include "kernel/vfio.h"
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
static bool is_named_in_fdinfo(const Search *s, const ProcFile *file) {
        static const char key[] = "vfio-device-syspath:";
        _cleanup_fclose_ FILE *f = NULL;
        char path[64], line[PATH_MAX];

        (void) snprintf(path, sizeof(path), "../fdinfo/%.16s", file->name);
        /* Closed meanwhile, or made unreadable by who has it: before that line come as many as it has locks. */
        if (proc_open(file->fd_dir, path, &f) < 0)
                return false;
        while (proc_next_line(f, line, sizeof(line)) > 0)
                if (strncmp(line, key, strlen(key)) == 0) {
                        const char *slash = strrchr(line, '/');

                        return slash && streq(slash + 1, ADDRESS(s->address));
                }
        return false;
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

/* Of the device, or of its group? */
static bool is_of_device(const Search *s, const ProcFile *file) {
        static const char anonymous[] = "anon_inode:[vfio-device]";
        dev_t number = 0;

        if (proc_file_device(file, &number) == S_IFCHR) {
                /* By number: in the mount namespace of a container the node can have any path. */
                if ((s->cdev != 0 && number == s->cdev) || (s->group != 0 && number == s->group))
                        return true;
                if (file->link[0] != '\0' && !strstr(file->link, "vfio"))
                        return false;
        } else if (!streq(file->link, anonymous))
                return false;
        return is_named_in_fdinfo(s, file);
}

static int look_at(const ProcFile *file, void *userdata) {
        Search *s = userdata;

        return is_of_device(s, file) ? add(s, file->pid) : 0;
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

typedef struct Loan {
        Search search;
        int pidfd;
        int result; /* of the last request, -ENOENT before the first */
} Loan;

/* Is what was borrowed really of the device? The process may have closed it and opened something else meanwhile, or be another one. */
static int is_right(const Search *s, int fd) {
        _cleanup_close_ int dir = openat(s->root_fd, "proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char name[16], link[256];
        ssize_t n;

        if (dir < 0)
                return -errno;
        (void) snprintf(name, sizeof(name), "%d", fd);
        n = readlinkat(dir, name, link, sizeof(link) - 1);
        if (n < 0)
                return -errno;
        link[n] = '\0';
        return is_of_device(s, &(ProcFile) { .pid = getpid(), .fd_dir = dir, .name = name, .link = link });
}

static int request_by(const ProcFile *file, void *userdata) {
        _cleanup_close_ int fd = -EBADF;
        Loan *loan = userdata;
        int r;

        if (!is_of_device(&loan->search, file))
                return 0;
        fd = process_copy_fd(loan->pidfd, atoi(file->name));
        if (fd < 0)
                return fd == -EBADF ? 0 : fd;
        r = is_right(&loan->search, fd);
        if (r <= 0)
                return r;
        /* Of several some may not be bound, by which nothing can be asked (EINVAL, as if nobody listened). One listener is enough. */
        if (loan->result < 0)
                loan->result = vfio_request(fd);
        return 0;
}

int holders_request(int root_fd, Address a, int pid) {
        _cleanup_close_ int fd = sysfs_open_device(root_fd, a), pidfd = -EBADF;
        Loan loan = { .search = { .root_fd = root_fd, .address = a }, .result = -ENOENT };
        char name[NAME_MAX_LEN];
        int r;

        if (fd < 0)
                return fd;
        /* The group is left out: nothing can be asked by it. */
        r = sysfs_read_vfio(fd, name, sizeof(name), &loan.search.cdev);
        if (r < 0)
                return r;
        pidfd = process_pidfd(pid);
        if (pidfd < 0)
                return pidfd == -ESRCH ? -ENOENT : pidfd;
        loan.pidfd = pidfd;
        r = proc_for_each_file_of(root_fd, pid, request_by, &loan);
        return r < 0 ? r : loan.result;
}
