/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "core/facts.h"

/* VFIO's legacy interface, by containers and groups: see KernelOps for what each does. */

int legacy_open_container(int root_fd);
int legacy_watch_group(int root_fd, int group, int inotify_fd);
int legacy_open_group(int root_fd, int group);
int legacy_set_container(int group_fd, int container_fd);
int legacy_open_device(int group_fd, int container_fd, Address a, BoundFacts *ret);
int legacy_set_node_user(int root_fd, int group, uid_t uid);
