/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "kernel/devnode.h"
#include "kernel/iommufd.h"
#include "kernel/sysfs.h"
#include "kernel/uapi.h"
#include "kernel/vfio.h"
#include "util/fd.h"
#include "util/text.h"

#define HOT_RESET_TRIES 8

static int open_node(int root_fd, Address a, int flags) {
        _cleanup_close_ int device = sysfs_open_device(root_fd, a);
        char name[NAME_MAX_LEN], path[128];
        dev_t number;
        int r;

        if (device < 0)
                return device;
        r = sysfs_read_vfio(device, name, sizeof(name), &number);
        if (r < 0)
                return r;
        if (name[0] == '\0')
                return -ENOENT;

        (void) snprintf(path, sizeof(path), "dev/vfio/devices/%s", name);
        return devnode_open(root_fd, path, number, flags);
}

int vfio_watch_cdev(int root_fd, Address a, int inotify_fd) {
        _cleanup_close_ int fd = open_node(root_fd, a, O_PATH);

        return fd < 0 ? fd : devnode_watch(fd, inotify_fd);
}

int vfio_open_cdev(int root_fd, Address a) {
        return open_node(root_fd, a, O_RDWR);
}

static int read_info(int device_fd, BoundFacts *f) {
        struct vfio_device_info info = { .argsz = sizeof(info) };

        if (ioctl(device_fd, VFIO_DEVICE_GET_INFO, &info) < 0)
                return -errno;
        f->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
        return 0;
}

/* Asks for the devices that a hot reset of this one would reset, with room for n of them. 1: answered, 0: not possible.
 */
static int ask_hot_reset(int device_fd, struct vfio_pci_hot_reset_info *info, size_t n) {
        *info = (struct vfio_pci_hot_reset_info) {
                .argsz = (uint32_t) (sizeof(*info) + n * sizeof(struct vfio_pci_dependent_device)),
        };
        if (ioctl(device_fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info) >= 0)
                return 1;
        /* ENODEV: neither slot nor bus can be reset; EPERM: a device of the set has no IOMMU group; ENOTTY: no PCI
         * device. */
        return errno == ENODEV || errno == EPERM || errno == ENOTTY ? 0 : -errno;
}

static int read_hot_reset(int device_fd, BoundFacts *f) {
        size_t n = 16;
        int r = -EAGAIN;

        /* ENOSPC: the set is larger. EAGAIN: it changed while the kernel looked. */
        for (unsigned i = 0; i < HOT_RESET_TRIES && (r == -EAGAIN || r == -ENOSPC); i++) {
                _cleanup_free_ struct vfio_pci_hot_reset_info *info = NULL;

                info = malloc(sizeof(*info) + n * sizeof(struct vfio_pci_dependent_device));
                if (!info)
                        return -ENOMEM;
                r = ask_hot_reset(device_fd, info, n);
                if (r == -ENOSPC)
                        n = (info->count > n ? info->count : n) + 16;
                if (r > 0) {
                        f->hot_reset_possible = true;
                        f->hot_reset_owned = info->flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
                }
        }
        return r < 0 ? r : 0;
}

int vfio_read_facts(int device_fd, BoundFacts *f) {
        int r = read_info(device_fd, f);

        return r < 0 ? r : read_hot_reset(device_fd, f);
}

#define TOKEN_SIZE 16

/* The bytes of a UUID in the order of its text. */
static int parse_token(const char *text, uint8_t ret[static TOKEN_SIZE]) {
        size_t n = 0;

        for (const char *s = text; *s; s++) {
                char byte[3] = { s[0], s[1], '\0' };
                uint64_t v;

                if (*s == '-')
                        continue;
                if (n == TOKEN_SIZE || !s[1] || text_to_hex(byte, UINT8_MAX, &v) < 0)
                        return -EINVAL;
                ret[n++] = (uint8_t) v;
                s++;
        }
        return n == TOKEN_SIZE ? 0 : -EINVAL;
}

/* The token is shown only where the kernel wants one (EACCES): where it wants none it would refuse the bind for it (EINVAL), and so
 * it would before 6.17, when it did not look at tokens here. */
static int bind_with_token(int device_fd, int iommufd, const uint8_t *token, uint32_t *ret_devid) {
        struct uapi_bind_with_token bind = {
                .argsz = offsetof(struct uapi_bind_with_token, token_uuid_ptr),
                .iommufd = iommufd,
                .token_uuid_ptr = (uintptr_t) token,
        };
        int r = ioctl(device_fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);

        if (r < 0 && errno == EACCES && token) {
                bind.argsz = sizeof(bind);
                bind.flags = VFIO_DEVICE_BIND_FLAG_TOKEN;
                r = ioctl(device_fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
        }
        if (r < 0)
                return -errno;
        *ret_devid = bind.out_devid;
        return 0;
}

/* A physical function takes the token, to ask its virtual ones for it; all others have no use for one (ENOTTY). */
static int set_token(int device_fd, const uint8_t token[static TOKEN_SIZE]) {
        struct {
                _Alignas(struct vfio_device_feature) unsigned char bytes[sizeof(struct vfio_device_feature) +
                                                                         TOKEN_SIZE];
        } buffer;
        struct vfio_device_feature head = {
                .argsz = sizeof(buffer),
                .flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PCI_VF_TOKEN,
        };

        memcpy(buffer.bytes, &head, sizeof(head));
        memcpy(buffer.bytes + sizeof(head), token, TOKEN_SIZE);
        return ioctl(device_fd, VFIO_DEVICE_FEATURE, &buffer) < 0 && errno != ENOTTY ? -errno : 0;
}

int vfio_bind_iommufd(int device_fd, int iommufd, const char *vf_token, BoundFacts *ret) {
        bool has_token = !isempty(vf_token);
        uint8_t token[TOKEN_SIZE];
        BoundFacts f = {};
        int r = 0;

        if (has_token)
                r = parse_token(vf_token, token);
        if (r >= 0)
                r = bind_with_token(device_fd, iommufd, has_token ? token : NULL, &f.devid);
        if (r >= 0 && has_token)
                r = set_token(device_fd, token);
        if (r >= 0)
                r = iommufd_read_pasid_bits(iommufd, f.devid, &f.pasid_bits);
        if (r >= 0)
                r = vfio_read_facts(device_fd, &f);
        if (r >= 0)
                *ret = f;
        return r;
}

int vfio_attach(int device_fd, uint32_t *pt) {
        struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach), .pt_id = *pt };

        if (ioctl(device_fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) < 0)
                return -errno;
        *pt = attach.pt_id;
        return 0;
}

int vfio_attach_pasid(int device_fd, uint32_t pt, uint32_t pasid) {
        UapiAttachPasid attach = {
                .argsz = sizeof(attach), .flags = VFIO_DEVICE_ATTACH_PASID, .pt_id = pt, .pasid = pasid
        };

        return ioctl(device_fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) < 0 ? -errno : 0;
}

int vfio_detach_pasid(int device_fd, uint32_t pasid) {
        UapiDetachPasid detach = { .argsz = sizeof(detach), .flags = VFIO_DEVICE_DETACH_PASID, .pasid = pasid };

        return ioctl(device_fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach) < 0 ? -errno : 0;
}

int vfio_reset(int device_fd) {
        if (ioctl(device_fd, VFIO_DEVICE_RESET) >= 0)
                return 0;
        /* EINVAL: it had no working reset when it was opened (vfio_pci_ioctl_reset, 7.2). */
        return errno == EINVAL ? -ENOTTY : -errno;
}

int vfio_hot_reset(int device_fd) {
        struct vfio_pci_hot_reset reset = {
                .argsz = sizeof(reset)
        }; /* no group descriptors: the iommufd is the proof */

        return ioctl(device_fd, VFIO_DEVICE_PCI_HOT_RESET, &reset) < 0 ? -errno : 0;
}

int vfio_request(int device_fd) {
        struct vfio_irq_set set = {
                .argsz = sizeof(set),
                .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
                .index = VFIO_PCI_REQ_IRQ_INDEX,
                .count = 1,
        };

        return ioctl(device_fd, VFIO_DEVICE_SET_IRQS, &set) < 0 ? -errno : 0;
}
