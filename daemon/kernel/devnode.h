/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

/* The nodes of VFIO's devices and groups. */

#define DEVNODE_PATH_MAX 32

/* Opens one and makes sure that it is what sysfs shows: numbers are given out again, and /dev is not the kernel's alone. */
int devnode_open(int root_fd, const char *path, dev_t number, int flags);
/* An open one by way of /proc, so that what is named is what was checked. */
const char *devnode_path(int fd, char path[static DEVNODE_PATH_MAX]);
/* Has inotify tell when it was closed. Returns the watch descriptor. */
int devnode_watch(int fd, int inotify_fd);
