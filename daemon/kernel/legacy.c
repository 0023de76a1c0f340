/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/acl.h>
#include <sys/ioctl.h>

#include "kernel/devnode.h"
#include "kernel/kernel.h"
#include "kernel/legacy.h"
#include "kernel/sysfs.h"
#include "kernel/uapi.h"
#include "kernel/vfio.h"
#include "util/fd.h"

int legacy_open_container(int root_fd) {
        int fd = openat(root_fd, "dev/vfio/vfio", O_RDWR | O_CLOEXEC | O_NOFOLLOW);

        return fd < 0 ? -errno : fd;
}

/* Only ever "/dev/vfio/22": the node of a group without an IOMMU is called noiommu-22. */
static int open_node(int root_fd, int group, int flags) {
        char path[64];
        dev_t number;
        int r;

        (void) snprintf(path, sizeof(path), "sys/class/vfio/%d/dev", group);
        r = sysfs_read_devnum(root_fd, path, &number);
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof(path), "dev/vfio/%d", group);
        return devnode_open(root_fd, path, number, flags);
}

int legacy_watch_group(int root_fd, int group, int inotify_fd) {
        _cleanup_close_ int fd = open_node(root_fd, group, O_PATH);

        return fd < 0 ? fd : devnode_watch(fd, inotify_fd);
}

int legacy_open_group(int root_fd, int group) {
        return open_node(root_fd, group, O_RDWR);
}

int legacy_set_container(int group_fd, int container_fd) {
        return ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &container_fd) < 0 ? -errno : 0;
}

int legacy_open_device(int group_fd, int container_fd, Address a, BoundFacts *ret) {
        _cleanup_close_ int fd = -EBADF;
        BoundFacts facts = {};
        int r;

        if (ioctl(container_fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
                return -errno;
        fd = ioctl(group_fd, VFIO_GROUP_GET_DEVICE_FD, ADDRESS(a));
        if (fd < 0)
                return -errno;
        r = vfio_read_facts(fd, &facts);
        if (r < 0)
                return r;
        *ret = facts;
        return TAKE_FD(fd);
}

/* --- who may open a node --- */

static void freep_acl(acl_t *acl) {
        if (*acl)
                (void) acl_free(*acl);
}

static bool is_of_user(acl_entry_t e, uid_t uid) {
        uid_t *qualifier = acl_get_qualifier(e);
        bool is = qualifier && *qualifier == uid;

        (void) acl_free(qualifier);
        return is;
}

/* Removes all named users but this one. Returns how many. */
static int remove_users(acl_t acl, uid_t uid, bool *ret_has_uid) {
        acl_entry_t e, mask = NULL;
        bool named = false;
        int r, n = 0;

        *ret_has_uid = false;
        for (int which = ACL_FIRST_ENTRY; (r = acl_get_entry(acl, which, &e)) > 0; which = ACL_NEXT_ENTRY) {
                acl_tag_t tag;

                if (acl_get_tag_type(e, &tag) < 0)
                        return -errno;
                if (tag == ACL_MASK)
                        mask = e;
                named = named || tag == ACL_GROUP;
                if (tag != ACL_USER)
                        continue;
                if (is_of_user(e, uid)) {
                        *ret_has_uid = true;
                        continue;
                }
                if (acl_delete_entry(acl, e) < 0)
                        return -errno;
                n++;
        }
        /* Without anybody for whom it is a mask, it would keep the mode's group bits as they were with him. */
        if (r >= 0 && mask && !named && !*ret_has_uid)
                r = acl_delete_entry(acl, mask);
        return r < 0 ? -errno : n;
}

static int add_user(acl_t *acl, uid_t uid) {
        acl_permset_t permissions;
        acl_entry_t e;

        if (acl_create_entry(acl, &e) < 0 || acl_set_tag_type(e, ACL_USER) < 0 || acl_set_qualifier(e, &uid) < 0 ||
            acl_get_permset(e, &permissions) < 0 || acl_add_perm(permissions, ACL_READ | ACL_WRITE) < 0)
                return -errno;
        return 0;
}

int legacy_set_node_user(int root_fd, int group, uid_t uid) {
        _cleanup_close_ int fd = open_node(root_fd, group, O_PATH);
        _cleanup_(freep_acl) acl_t acl = NULL;
        bool has_uid;
        char path[DEVNODE_PATH_MAX];
        int removed, r;

        if (fd < 0)
                return fd;
        acl = acl_get_file(devnode_path(fd, path), ACL_TYPE_ACCESS);
        if (!acl)
                return -errno;
        removed = remove_users(acl, uid, &has_uid);
        if (removed < 0)
                return removed;
        if (uid == KERNEL_NOBODY && removed == 0)
                return 0;
        if (uid != KERNEL_NOBODY && !has_uid) {
                r = add_user(&acl, uid);
                if (r < 0)
                        return r;
        }
        if (uid != KERNEL_NOBODY && acl_calc_mask(&acl) < 0)
                return -errno;
        return acl_set_file(path, ACL_TYPE_ACCESS, acl) < 0 ? -errno : removed;
}
