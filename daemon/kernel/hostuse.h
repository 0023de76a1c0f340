/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/facts.h"

/* KernelOps.read_host_uses. The kinds are: "disk" (mounts, swap, volumes), "network", "console" (with the boot
 * display), "functions" (enabled VFs), "open" (a process has a node of it open) and "unknown" (could not be found out).
 */
int hostuse_read(int root_fd, Address a, HostUses *ret);
