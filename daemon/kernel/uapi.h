/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stdint.h>

/* What the kernel's interface has gained since the headers of Linux 6.12 (Debian 13), and only that. A kernel that does
 * not know one of these flags answers EINVAL or EOPNOTSUPP. */

/* Linux 6.15: struct vfio_device_attach_iommufd_pt and its counterpart have a "__u32 pasid" at the end, used with this
 * flag. */
#ifndef VFIO_DEVICE_ATTACH_PASID
#define VFIO_DEVICE_ATTACH_PASID (1 << 0)
#endif
#ifndef VFIO_DEVICE_DETACH_PASID
#define VFIO_DEVICE_DETACH_PASID (1 << 0)
#endif

typedef struct UapiAttachPasid {
        uint32_t argsz, flags, pt_id, pasid;
} UapiAttachPasid;

typedef struct UapiDetachPasid {
        uint32_t argsz, flags, pasid;
} UapiDetachPasid;

/* Linux 6.17: struct vfio_device_bind_iommufd has a token_uuid_ptr at the end, used with this flag. */
#ifndef VFIO_DEVICE_BIND_FLAG_TOKEN
#define VFIO_DEVICE_BIND_FLAG_TOKEN (1 << 0)
#endif
struct uapi_bind_with_token {
        __u32 argsz;
        __u32 flags;
        __s32 iommufd;
        __u32 out_devid;
        __aligned_u64 token_uuid_ptr;
};

/* Linux 6.15: a page table that can be attached to a PASID. An enumerator in the kernel's header, hence a name of our
 * own. */
#define UAPI_HWPT_ALLOC_PASID (1U << 3)
