/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The gate's maps, and its arithmetic. Included by the one program file. */

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 16384);
        __type(key, GateId);
        __type(value, GateRule);
} rules SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 65536);
        __type(key, __u32);
        __type(value, GateCdev);
} cdevs SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 16384);
        __type(key, GateId);
        __type(value, GateTally);
} lease_tallies SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 16384);
        __type(key, __u64);
        __type(value, GateTally);
} level_tallies SEC(".maps");

/* Who is charged for each PASID that is attached. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 1 << 20);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, GatePasid);
        __type(value, GateId);
} attached SEC(".maps");

typedef enum Event {
        EVENT_ATTACH,
        EVENT_ATTACH_RESERVED,
        EVENT_DETACH,
        EVENT_REFUSE,
        EVENT_KILL,
} Event;

static __always_inline void add(GateTally *t, Event e) {
        bpf_spin_lock(&t->lock);
        if (e == EVENT_ATTACH || e == EVENT_ATTACH_RESERVED) {
                if (e == EVENT_ATTACH_RESERVED && t->reserved > 0)
                        t->reserved--;
                t->in_use++;
                if (t->in_use > t->peak)
                        t->peak = t->in_use;
        } else if (e == EVENT_DETACH) {
                if (t->in_use > 0)
                        t->in_use--;
        } else if (e == EVENT_REFUSE)
                t->refused++;
        else
                t->killed++;
        bpf_spin_unlock(&t->lock);
}

static __always_inline void note_lease(const GateId *id, Event e) {
        GateTally *t = bpf_map_lookup_elem(&lease_tallies, id);

        if (t)
                add(t, e);
}

static __always_inline void make_level(__u64 level) {
        GateTally empty = {};

        (void) bpf_map_update_elem(&level_tallies, &level, &empty, BPF_NOEXIST);
}

static __always_inline void note_chain(const GateChain *chain, Event e) {
        for (__u32 i = 0; i < GATE_LEVELS_MAX && i < chain->n_levels; i++) {
                __u64 level = chain->levels[i];
                GateTally *t = bpf_map_lookup_elem(&level_tallies, &level);

                if (t)
                        add(t, e);
        }
}

/* Tells all cgroups that the lease is charged to. */
static __always_inline void note_levels(const GateId *id, Event e) {
        GateRule *rule = bpf_map_lookup_elem(&rules, id);

        if (rule)
                note_chain(&rule->chain, e);
}

static __always_inline void note(const GateId *id, Event e) {
        note_lease(id, e);
        note_levels(id, e);
}

/* One PASID more, if the lease has one left. A lease without its maps has none. */
static __always_inline bool reserve(const GateId *id) {
        GateTally *t = bpf_map_lookup_elem(&lease_tallies, id);
        GateRule *rule = bpf_map_lookup_elem(&rules, id);
        bool left;
        __u64 limit;

        if (!t || !rule)
                return false;
        limit = rule->limit;
        bpf_spin_lock(&t->lock);
        left = t->in_use + t->reserved < limit;
        if (left)
                t->reserved++;
        bpf_spin_unlock(&t->lock);
        return left;
}

static __always_inline void unreserve(const GateId *id) {
        GateTally *t = bpf_map_lookup_elem(&lease_tallies, id);

        if (!t)
                return;
        bpf_spin_lock(&t->lock);
        if (t->reserved > 0)
                t->reserved--;
        bpf_spin_unlock(&t->lock);
}
