/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The few members of the kernel's structures that the gate reads. Their offsets are found out when it is loaded (CO-RE), so no
 * header of a certain kernel is needed to build it. */

#define CORE __attribute__((preserve_access_index))

struct inode {
        unsigned short i_mode;
        unsigned int i_rdev;
} CORE;

struct file {
        struct inode *f_inode;
        void *private_data;
} CORE;

struct iommu_group {
        int id;
        void *owner;
} CORE;

struct device {
        struct iommu_group *iommu_group;
} CORE;

struct iommu_domain {
        unsigned int type;
} CORE;

struct iommu_mm_data {
        unsigned int pasid;
} CORE;

struct mm_struct {
        struct iommu_mm_data *iommu_mm; /* set once it has a PASID for SVA, Linux 6.8 */
} CORE;

struct task_struct {
        struct mm_struct *mm;
} CORE;

#define PASID_INVALID (~0U) /* IOMMU_PASID_INVALID */
#define EPERM         1
#define EAGAIN        11
#define EFAULT        14
#define EDQUOT        122

static __always_inline bool is_char_device(const struct inode *inode) {
        return (inode->i_mode & 0170000) == 0020000;
}
