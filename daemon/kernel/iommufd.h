/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "util/macro.h"

int iommufd_open(int root_fd, bool per_process);
int iommufd_alloc_ioas(int iommufd, uint32_t *ret_ioas);

int iommufd_alloc_pasid_table(int iommufd, uint32_t devid, uint32_t ioas, uint32_t *ret_pt);

/* How many bits of PASID the IOMMU and a bound device support together; 0 if none, or if the kernel cannot say. */
int iommufd_read_pasid_bits(int iommufd, uint32_t devid, uint8_t *ret);
