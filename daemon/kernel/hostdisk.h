/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "kernel/hostsearch.h"

/* A directory of a block device: notes it, its partitions and all volumes on top of them. */
int hostdisk_collect(HostSearch *s, int dirfd, const char *name);
/* Mounts, swap and whatever else has claimed what was collected. */
int hostdisk_read(HostSearch *s);
