/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "util/macro.h"

/* All cgroups that can have a limit of their own, as they come and go: from the root down to those that are delegated, and with them. */

typedef struct CGroupNode {
        char *path;
        uint64_t id;
        bool is_leaf; /* nothing below it is in the tree */
        int watch;
} CGroupNode;

typedef struct CGroupTree CGroupTree;

/* One came, or is delegated now and was not before. */
typedef void (*cgroup_tree_handler_t)(const CGroupNode *node, void *userdata);

/* root: CGROUP_ROOT, but for tests. The handler is called for what is there before this returns. -EOPNOTSUPP: cgroup v2 is not mounted
 * there. */
int cgroup_tree_new(sd_event *event, const char *root, cgroup_tree_handler_t handler, void *userdata, CGroupTree **ret);
CGroupTree *cgroup_tree_free(CGroupTree *t);
DEFINE_CLEANUP(CGroupTree, cgroup_tree_free)

/* Valid until the next event. */
const CGroupNode *cgroup_tree_nodes(const CGroupTree *t, size_t *ret_n);
