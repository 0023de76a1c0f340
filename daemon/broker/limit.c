/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <syslog.h>

#include "broker/limit.h"
#include "system/cgroup-tree.h"
#include "system/cgroup.h"
#include "system/journal.h"
#include "util/text.h"

static void forget_gone(const Broker *b) {
        size_t n;
        const CGroupNode *nodes = cgroup_tree_nodes(b->cgroups, &n);
        _cleanup_free_ uint64_t *ids = calloc(n + 1, sizeof(*ids));
        int r = -ENOMEM;

        for (size_t i = 0; ids && i < n; i++)
                ids[i] = nodes[i].id;
        if (ids)
                r = b->kernel->ops->gate_keep_limits(b->kernel, ids, n);
        if (r < 0)
                journal_log(LOG_ERR, "The gate does not forget the cgroups that are gone: %s", strerror(-r));
}

static void tell(Broker *b, const CGroupNode *node) {
        const Quota *q = &b->ledger.quota;
        const QuotaLevel *level = quota_level(q, node->path);
        PasidLimit l = {
                .id = node->id,
                .limit = quota_limit(q, &b->config.quotas, node->path).limit,
                .booked = level ? level->booked : 0,
                .closed = !node->is_leaf && quota_has_limits(q, &b->config.quotas),
        };
        int r = b->kernel->ops->gate_set_limit(b->kernel, &l);

        /* Cgroups come and go, and the gate has room for 65536 (bpf/sva.h). */
        b->gate_was_full = b->gate_was_full || r == -E2BIG;
        if (r == -E2BIG && b->cgroups) {
                forget_gone(b);
                r = b->kernel->ops->gate_set_limit(b->kernel, &l);
        }
        if (r < 0)
                journal_log(LOG_ERR, "Cannot tell the gate what %s may have: %s", node->path, strerror(-r));
}

static void on_cgroup(const CGroupNode *node, void *userdata) {
        Broker *b = userdata;
        QuotaLevel *level = quota_level(&b->ledger.quota, node->path);

        /* With something booked it goes on showing who has that. */
        if (level && level->booked == 0)
                level->id = node->id;
        tell(b, node);
}

void limit_start(Broker *b) {
        int r;

        if (b->enforcement != ENFORCEMENT_KERNEL)
                return;
        r = cgroup_tree_new(b->event, CGROUP_ROOT, on_cgroup, b, &b->cgroups);
        if (r < 0)
                journal_log(LOG_WARNING, "No limit of PASIDs counts for SVA, cgroups cannot be watched: %s",
                            strerror(-r));
        else
                forget_gone(b);
        if (b->gate_was_full)
                limit_update_all(b);
        limit_note_nodes(b);
}

void limit_update(Broker *b, const char *path) {
        size_t n = 0;
        const CGroupNode *nodes = b->cgroups ? cgroup_tree_nodes(b->cgroups, &n) : NULL;

        for (size_t i = 0; i < n; i++)
                if (streq(nodes[i].path, path))
                        tell(b, &nodes[i]);
}

void limit_update_all(Broker *b) {
        size_t n = 0;
        const CGroupNode *nodes = b->cgroups ? cgroup_tree_nodes(b->cgroups, &n) : NULL;

        for (size_t i = 0; i < n; i++)
                tell(b, &nodes[i]);
}

void limit_note_nodes(Broker *b) {
        int r = b->enforcement == ENFORCEMENT_KERNEL ? b->kernel->ops->gate_note_nodes(b->kernel) : 0;

        if (r < 0)
                journal_log(LOG_ERR, "Cannot tell the gate which devices have SVA: %s", strerror(-r));
}

void limit_read_shared(const Broker *b, const PasidChain *chain, uint64_t ret[static PASID_LEVELS_MAX]) {
        PasidCounts counts;

        for (unsigned i = 0; i < PASID_LEVELS_MAX; i++)
                ret[i] = 0;
        for (unsigned i = 0; b->enforcement == ENFORCEMENT_KERNEL && i < chain->n_levels; i++)
                if (b->kernel->ops->gate_read_level(b->kernel, chain->levels[chain->n_levels - 1 - i], &counts) >= 0)
                        ret[i] = counts.shared;
}

int limit_confirm(Broker *b, const Lease *l) {
        _cleanup_(findings_clear) Findings findings = {};
        uint64_t shared[PASID_LEVELS_MAX];
        char path[QUOTA_PATH_MAX];

        if (!b->cgroups || l->pasids == 0 || !text_copy(path, sizeof(path), l->charged))
                return 0;
        do
                limit_update(b, path);
        while (quota_ascend(path));
        limit_read_shared(b, &l->chain, shared);
        (void) quota_judge(&b->ledger.quota, &b->config.quotas, l->charged, shared, 0, &findings);
        return findings_first_block(&findings) ? -EDQUOT : 0;
}
