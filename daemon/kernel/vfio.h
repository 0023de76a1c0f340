/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/facts.h"

/* VFIO's character devices: see KernelOps for what each does. */

int vfio_watch_cdev(int root_fd, Address a, int inotify_fd);
int vfio_open_cdev(int root_fd, Address a);
int vfio_bind_iommufd(int device_fd, int iommufd, BoundFacts *ret);
int vfio_attach(int device_fd, uint32_t *pt);
