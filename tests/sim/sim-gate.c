/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simops.h"

/* The gate: what it is told of leases, and what it counts. It outlives the daemon, and whoever attaches PASIDs cannot go around it. */

static SimGateLease *find(Sim *s, const char *id) {
        for (size_t i = 0; i < s->n_gate_leases; i++)
                if (!s->gate_leases[i].dropped && streq(s->gate_leases[i].rule.id, id))
                        return &s->gate_leases[i];
        return NULL;
}

static SimGateLevel *level(Sim *s, uint64_t id) {
        for (size_t i = 0; i < s->n_gate_levels; i++)
                if (s->gate_levels[i].id == id)
                        return &s->gate_levels[i];
        return NULL;
}

static int make_level(Sim *s, uint64_t id) {
        SimGateLevel *grown;

        if (level(s, id))
                return 0;
        grown = reallocarray(s->gate_levels, s->n_gate_levels + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        s->gate_levels = grown;
        grown[s->n_gate_levels++] = (SimGateLevel) { .id = id };
        return 0;
}

/* What is dropped is forgotten with its last PASID. */
static void forget(Sim *s, SimGateLease *l) {
        if (l->dropped && l->counts.in_use == 0)
                *l = s->gate_leases[--s->n_gate_leases];
}

static void add(PasidCounts *c) {
        if (++c->in_use > c->peak)
                c->peak = c->in_use;
}

static SimGateLease *lease_of(Sim *s, const SimDevice *d) {
        for (size_t i = 0; s->gate_loaded && i < s->n_gate_leases; i++)
                for (size_t j = 0; j < s->gate_leases[i].rule.n_devices && !s->gate_leases[i].dropped; j++)
                        if (s->gate_leases[i].rule.devices[j].cdev == sim_cdev_number(s, d))
                                return &s->gate_leases[i];
        return NULL;
}

int sim_gate_admit(Sim *s, const SimDevice *d) {
        SimGateLease *l = lease_of(s, d);

        if (!l || l->counts.in_use < l->rule.limit)
                return 0;
        l->counts.refused++;
        for (unsigned i = 0; i < l->rule.chain.n_levels; i++)
                level(s, l->rule.chain.levels[i])->counts.refused++;
        return -EDQUOT;
}

uint64_t sim_gate_charge(Sim *s, const SimDevice *d) {
        SimGateLease *l = lease_of(s, d);

        if (!l)
                return 0;
        add(&l->counts);
        for (unsigned i = 0; i < l->rule.chain.n_levels; i++)
                add(&level(s, l->rule.chain.levels[i])->counts);
        return l->serial;
}

void sim_gate_discharge(Sim *s, uint64_t charged) {
        for (size_t i = 0; i < s->n_gate_leases; i++) {
                SimGateLease *l = &s->gate_leases[i];

                if (l->serial != charged)
                        continue;
                l->counts.in_use--;
                for (unsigned j = 0; j < l->rule.chain.n_levels; j++)
                        level(s, l->rule.chain.levels[j])->counts.in_use--;
                forget(s, l);
                return;
        }
}

/* --- the operations --- */

int sim_op_gate_load(Kernel *k) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "gate_load", NULL);

        s->gate_loaded = s->gate_loaded || r >= 0;
        return sim_leave(s, r);
}

int sim_op_gate_open(Kernel *k) {
        Sim *s = sim_of(k);

        s->gate_open = s->gate_loaded;
        return s->gate_open ? 0 : -ENOENT;
}

int sim_op_gate_unload(Kernel *k) {
        Sim *s = sim_of(k);

        if (!s->gate_loaded)
                return -ENOENT;
        if (s->gate_open || s->n_gate_leases > 0)
                return -EBUSY;
        s->gate_loaded = false;
        s->n_gate_levels = 0;
        return 0;
}

int sim_op_gate_set_lease(Kernel *k, const GateLease *rule) {
        Sim *s = sim_of(k);
        SimGateLease *l = find(s, rule->id), *grown;
        int r = 0;

        if (!s->gate_open)
                return -ENOENT;
        for (unsigned i = 0; i < rule->chain.n_levels && r >= 0; i++)
                r = make_level(s, rule->chain.levels[i]);
        if (r < 0)
                return r;
        if (!l) {
                grown = reallocarray(s->gate_leases, s->n_gate_leases + 1, sizeof(*grown));
                if (!grown)
                        return -ENOMEM;
                s->gate_leases = grown;
                l = &grown[s->n_gate_leases++];
                *l = (SimGateLease) { .serial = ++s->serial };
        }
        l->rule = *rule;
        return 0;
}

int sim_op_gate_drop_lease(Kernel *k, const char *id) {
        Sim *s = sim_of(k);
        SimGateLease *l = s->gate_open ? find(s, id) : NULL;

        if (!l)
                return -ENOENT;
        l->dropped = true;
        forget(s, l);
        return 0;
}

int sim_op_gate_read_lease(Kernel *k, const char *id, PasidCounts *ret) {
        Sim *s = sim_of(k);
        const SimGateLease *l = s->gate_open ? find(s, id) : NULL;

        if (!l)
                return -ENOENT;
        *ret = l->counts;
        return 0;
}

int sim_op_gate_read_level(Kernel *k, uint64_t cgroup_id, PasidCounts *ret) {
        Sim *s = sim_of(k);
        const SimGateLevel *l = s->gate_open ? level(s, cgroup_id) : NULL;

        if (!l)
                return -ENOENT;
        *ret = l->counts;
        return 0;
}

int sim_op_gate_list_leases(Kernel *k, char (**ret)[LEASE_ID_LEN + 1], size_t *ret_n) {
        Sim *s = sim_of(k);
        char(*ids)[LEASE_ID_LEN + 1];

        if (!s->gate_open)
                return -ENOENT;
        ids = calloc(s->n_gate_leases + 1, sizeof(*ids));
        if (!ids)
                return -ENOMEM;
        *ret_n = 0;
        for (size_t i = 0; i < s->n_gate_leases; i++)
                if (!s->gate_leases[i].dropped)
                        memcpy(ids[(*ret_n)++], s->gate_leases[i].rule.id, sizeof(*ids));
        *ret = ids;
        return 0;
}

/* Limits are for SVA alone, and nobody has that here. */

int sim_op_gate_set_limit(Kernel *k, const PasidLimit *l) {
        Sim *s = sim_of(k);

        return s->gate_open ? make_level(s, l->id) : -ENOENT;
}

int sim_op_gate_keep_limits(Kernel *k, _unused_ uint64_t *ids, _unused_ size_t n) {
        return sim_of(k)->gate_open ? 0 : -ENOENT;
}

int sim_op_gate_note_nodes(Kernel *k) {
        return sim_of(k)->gate_open ? 0 : -ENOENT;
}
