/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/facts.h"

/* VFIO's character devices: see KernelOps for what each does. */

int vfio_watch_cdev(int root_fd, Address a, int inotify_fd);
int vfio_open_cdev(int root_fd, Address a);
int vfio_bind_iommufd(int device_fd, int iommufd, const char *vf_token, BoundFacts *ret);
int vfio_attach(int device_fd, uint32_t *pt);
int vfio_attach_pasid(int device_fd, uint32_t pt, uint32_t pasid);
int vfio_detach_pasid(int device_fd, uint32_t pasid);
int vfio_reset(int device_fd);
int vfio_hot_reset(int device_fd);
/* The device request. -EINVAL: nobody listens, or the descriptor is not bound. */
int vfio_request(int device_fd);

/* What an open device says about itself, whatever way it was opened: its resets. */
int vfio_read_facts(int device_fd, BoundFacts *f);
