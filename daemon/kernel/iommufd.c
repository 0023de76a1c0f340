/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/ioctl.h>

#include "kernel/iommufd.h"
#include "kernel/uapi.h"
#include "util/fd.h"

int iommufd_open(int root_fd, bool per_process) {
        struct iommu_option option = {
                .size = sizeof(option),
                .option_id = IOMMU_OPTION_RLIMIT_MODE,
                .op = IOMMU_OPTION_OP_SET,
                .val64 = 1,
        };
        _cleanup_close_ int fd = openat(root_fd, "dev/iommu", O_RDWR | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        /* Possible only as long as there is no object in it (EBUSY afterwards), so nobody can undo it later. */
        if (per_process && ioctl(fd, IOMMU_OPTION, &option) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int iommufd_alloc_ioas(int iommufd, uint32_t *ret_ioas) {
        struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

        if (ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc) < 0)
                return -errno;
        *ret_ioas = alloc.out_ioas_id;
        return 0;
}

int iommufd_alloc_pasid_table(int iommufd, uint32_t devid, uint32_t ioas, uint32_t *ret_pt) {
        struct iommu_hwpt_alloc alloc = {
                .size = sizeof(alloc), .flags = UAPI_HWPT_ALLOC_PASID, .dev_id = devid, .pt_id = ioas
        };

        if (ioctl(iommufd, IOMMU_HWPT_ALLOC, &alloc) < 0)
                return -errno;
        *ret_pt = alloc.out_hwpt_id;
        return 0;
}

int iommufd_read_pasid_bits(int iommufd, uint32_t devid, uint8_t *ret) {
        struct iommu_hw_info info = { .size = sizeof(info), .dev_id = devid };

        *ret = 0;
        if (ioctl(iommufd, IOMMU_GET_HW_INFO, &info) < 0)
                /* ENOTTY before Linux 6.6, EOPNOTSUPP from IOMMU drivers that tell nothing. From 6.6 to 6.14 the ioctl
                 * succeeds and leaves the field, which was reserved then, at 0. */
                return errno == EOPNOTSUPP || errno == ENOTTY ? 0 : -errno;
        *ret = info.out_max_pasid_log2;
        return 0;
}
