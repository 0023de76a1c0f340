/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/pasid.h"
#include "core/quota.h"

/* Cgroups, as the unified hierarchy shows them. */

struct stat;

#define CGROUP_ROOT "/sys/fs/cgroup"

typedef struct CGroup {
        char path[QUOTA_PATH_MAX];
        /* The same, or its beginning: the first cgroup from the root down that is delegated. Whoever it is delegated to can make, name and
         * remove what is below, so limits are kept there and above. */
        char charged[QUOTA_PATH_MAX];
        PasidChain chain;
} CGroup;

/* Looks at a cgroup by its path. -EOPNOTSUPP: cgroup v2 is not mounted there; -ENOENT: there is no such cgroup. What is deeper than
 * PASID_LEVELS_MAX or cannot be printed is left out: then path is that of the last that is not. root: CGROUP_ROOT, but for tests. */
int cgroup_read(const char *root, const char *path, CGroup *ret);
/* Is the cgroup of this directory, which is not the root, delegated? */
bool cgroup_is_delegated(int fd, const struct stat *st);
