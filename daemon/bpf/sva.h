/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "tally.h"

/* SVA: with its first bind an address space of a process gets a PASID of the one space that all IOMMUs share, and keeps it until the
 * last reference to it is gone, wherever the process has gone meanwhile. Drivers that have SVA bind when their node is opened.
 *
 *   gate     LSM at open(): reserves a PASID in each cgroup from the opener's to the root, or refuses.
 *   meter    where the IOMMU layer takes a number and where it gives it back.
 *   settle   after the driver's open: what was reserved and not taken goes back.
 *
 * A kernel driver may have a PASID for itself: that is the root's. Included by the one program file. */

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 65536);
        __type(key, __u64);
        __type(value, GateLimit);
} limits SEC(".maps");

/* Written by the daemon: is that a node of a driver that has SVA? */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 65536);
        __type(key, __u32);
        __type(value, __u32);
} nodes SEC(".maps");

/* Who is charged for each PASID. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 1 << 20);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, __u32);
        __type(value, GateChain);
} globals SEC(".maps");

/* A task in the middle of an open, or of a bind. */
typedef struct Opening {
        GateChain chain; /* the root first; 0 for one that has no tally */
        bool reserved;
        bool binding;
} Opening;

struct {
        __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, int);
        __type(value, Opening);
} openings SEC(".maps");

static __always_inline Opening *opening_of_current(__u64 flags) {
        return bpf_task_storage_get(&openings, bpf_get_current_task_btf(), NULL, flags);
}

static __always_inline bool has_sva(const struct inode *inode) {
        __u32 number = inode->i_rdev, any = number | GATE_ANY_MINOR, *found;

        if (!is_char_device(inode))
                return false;
        found = bpf_map_lookup_elem(&nodes, &number);
        if (!found)
                found = bpf_map_lookup_elem(&nodes, &any);
        return found && *found;
}

/* --- arithmetic --- */

/* Is a cgroup at its limit that had so many before? -EAGAIN: nobody knows its limit yet. */
static __always_inline int judge(__u64 level, __u64 before, bool counted, bool *closed) {
        GateLimit *l = bpf_map_lookup_elem(&limits, &level);
        __u64 limit, booked;

        if (!l) {
                int r = *closed ? -EAGAIN : 0;

                *closed = false;
                return r;
        }
        bpf_spin_lock(&l->lock);
        limit = l->limit;
        booked = l->booked;
        bpf_spin_unlock(&l->lock);
        *closed = l->closed;
        return limit != GATE_UNLIMITED && (!counted || before + booked >= limit) ? -EDQUOT : 0;
}

/* One more in a cgroup. Counted first, by an atomic operation that is a barrier, and judged afterwards, as the daemon does with what it
 * books: of two that want the last one, at least one sees the other. Returns 1 if it was counted, 0 if there is no room to count. */
static __always_inline int take(__u64 level, bool judged, bool *closed) {
        GateTally *t;
        __u64 before;
        int r;

        make_level(level);
        t = bpf_map_lookup_elem(&level_tallies, &level);
        before = t ? __sync_fetch_and_add(&t->shared, 1) : 0;
        r = judged ? judge(level, before, t, closed) : 0;
        if (r < 0 && t)
                (void) __sync_fetch_and_sub(&t->shared, 1);
        return r < 0 ? r : t ? 1 : 0;
}

static __always_inline void give_back(const GateChain *chain) {
        for (__u32 i = 0; i < GATE_LEVELS_MAX && i < chain->n_levels; i++) {
                __u64 level = chain->levels[i];
                GateTally *t = bpf_map_lookup_elem(&level_tallies, &level);

                if (t)
                        (void) __sync_fetch_and_sub(&t->shared, 1);
        }
}

/* One more in the cgroups from the root to the current one, or in the first n of them: in all, or in none. judged: unless one is at its
 * limit. */
static __always_inline int take_in_all(GateChain *chain, int n, bool judged) {
        bool closed = false;
        int r = 0;

        chain->n_levels = 0;
        for (int i = 0; i < GATE_LEVELS_MAX && i < n; i++) {
                __u64 level = bpf_get_current_ancestor_cgroup_id(i);

                if (level == 0)
                        break;
                r = take(level, judged, &closed);
                if (r < 0)
                        break;
                chain->levels[i] = r > 0 ? level : 0;
                chain->n_levels = i + 1;
        }
        if (r < 0)
                give_back(chain);
        return r < 0 ? r : 0;
}

/* --- gate --- */

static __always_inline void note_refusal(void) {
        for (int i = 0; i < GATE_LEVELS_MAX; i++) {
                __u64 level = bpf_get_current_ancestor_cgroup_id(i);
                GateTally *t = bpf_map_lookup_elem(&level_tallies, &level);

                if (level == 0)
                        break;
                if (t)
                        add(t, EVENT_REFUSE);
        }
}

/* The PASID of the current address space, or PASID_INVALID. */
static __always_inline __u32 pasid_of_current(void) {
        const struct mm_struct *mm = bpf_get_current_task_btf()->mm;

        return mm && bpf_core_field_exists(mm->iommu_mm) && mm->iommu_mm ? mm->iommu_mm->pasid : PASID_INVALID;
}

/* Who is charged for a PASID from now on. */
static __always_inline void charge_global(__u32 pasid, const GateChain *chain, __u64 flags) {
        /* Without memory for it nobody hears of its end. */
        if (bpf_map_update_elem(&globals, &pasid, chain, flags) == 0)
                note_chain(chain, EVENT_ATTACH);
        else
                give_back(chain);
}

/* If the address space has a PASID by now for which nobody is charged, the meter was skipped. */
static __always_inline void sva_settle(void) {
        Opening *o = opening_of_current(0);
        __u32 pasid;

        if (!o || !o->reserved)
                return;
        o->reserved = false;
        pasid = pasid_of_current();
        if (pasid == PASID_INVALID)
                give_back(&o->chain);
        else
                charge_global(pasid, &o->chain, BPF_NOEXIST);
}

SEC("lsm/file_open")
int BPF_PROG(gate_open, struct file *file, int before) {
        Opening *o;
        int r;

        if (before != 0)
                return before;
        if (!has_sva(file->f_inode))
                return 0;
        sva_settle();
        if (pasid_of_current() != PASID_INVALID)
                return 0;
        o = opening_of_current(BPF_LOCAL_STORAGE_GET_F_CREATE);
        if (!o)
                return -EPERM;
        r = take_in_all(&o->chain, GATE_LEVELS_MAX, true);
        o->reserved = r == 0;
        if (r == -EDQUOT)
                note_refusal();
        return r;
}

SEC("fexit/chrdev_open")
int BPF_PROG(settle_open) {
        sva_settle();
        return 0;
}

/* --- meter --- */

SEC("fentry/iommu_sva_bind_device")
int BPF_PROG(bind_begin) {
        Opening *o = opening_of_current(BPF_LOCAL_STORAGE_GET_F_CREATE);

        if (o)
                o->binding = true;
        return 0;
}

SEC("fexit/iommu_sva_bind_device")
int BPF_PROG(bind_end) {
        Opening *o = opening_of_current(0);

        if (o)
                o->binding = false;
        return 0;
}

static __always_inline void uncharge_global(__u32 pasid) {
        GateChain *chain = bpf_map_lookup_elem(&globals, &pasid);

        if (!chain)
                return;
        note_chain(chain, EVENT_DETACH);
        give_back(chain);
        (void) bpf_map_delete_elem(&globals, &pasid);
}

/* A bind that no open was asked for (of a node that the daemon does not know, or by a driver that binds elsewhere) is charged, too. */
SEC("fexit/iommu_alloc_global_pasid")
int BPF_PROG(meter_global, struct device *dev, unsigned int pasid) {
        Opening *o = opening_of_current(BPF_LOCAL_STORAGE_GET_F_CREATE);

        if (pasid == PASID_INVALID || !o)
                return 0;
        if (!o->reserved)
                (void) take_in_all(&o->chain, o->binding ? GATE_LEVELS_MAX : 1, false);
        o->reserved = false;
        /* Its end was missed. */
        uncharge_global(pasid);
        charge_global(pasid, &o->chain, BPF_ANY);
        return 0;
}

SEC("fentry/iommu_free_global_pasid")
int BPF_PROG(meter_global_free, unsigned int pasid) {
        uncharge_global(pasid);
        return 0;
}
