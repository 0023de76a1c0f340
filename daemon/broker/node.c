/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/node.h"
#include "system/journal.h"

static uid_t user_of(const Lease *l) {
        return l && l->hand_over == HAND_OVER_NODE && l->state == LEASE_ACTIVE ? l->uid : KERNEL_NOBODY;
}

/* There is no node, or devtmpfs without CONFIG_TMPFS_POSIX_ACL. */
static bool has_no_list(int r) {
        return r == -ENOENT || r == -EOPNOTSUPP;
}

/* Is it the first of the lease's devices in its group? */
static bool is_first(const Lease *l, size_t i) {
        for (size_t j = 0; j < i; j++)
                if (l->devices[j].group == l->devices[i].group)
                        return false;
        return true;
}

int node_grant(Broker *b, const Lease *l, int *culprit) {
        for (size_t i = 0; i < l->n_devices; i++) {
                int r;

                if (!is_first(l, i))
                        continue;
                *culprit = l->devices[i].group;
                r = b->kernel->ops->set_node_user(b->kernel, l->devices[i].group, l->uid);
                if (r < 0)
                        return r;
        }
        return 0;
}

void node_revoke(Broker *b, const Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                int r = is_first(l, i) ? b->kernel->ops->set_node_user(b->kernel, l->devices[i].group, KERNEL_NOBODY)
                                       : 0;

                if (r < 0 && !has_no_list(r))
                        journal_log(LOG_ERR, "Lease %s: cannot take /dev/vfio/%d from uid %u: %s", l->id,
                                    l->devices[i].group, l->uid, strerror(-r));
        }
}

void node_settle(Broker *b) {
        const Group *g;

        INVENTORY_FOREACH_GROUP (&b->ledger.inventory, g) {
                int r = b->kernel->ops->set_node_user(b->kernel, g->facts.id, user_of(g->lease));

                if (r > 0)
                        journal_log(LOG_WARNING, "No lease let %d users open /dev/vfio/%d, and now they cannot", r,
                                    g->facts.id);
                else if (r < 0 && !has_no_list(r))
                        journal_log(LOG_ERR, "Cannot settle who may open /dev/vfio/%d: %s", g->facts.id, strerror(-r));
        }
}
