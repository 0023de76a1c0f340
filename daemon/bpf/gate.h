/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the gate in the kernel and the daemon share: the contents of the maps. They are pinned and outlive the daemon, so a change
 * here is a new GATE_VERSION. Types as both sides have them (linux/types.h). */

#define GATE_VERSION    2
#define GATE_ID_LEN     32
#define GATE_LEVELS_MAX 32
#define GATE_UNLIMITED  (~0ULL)
#define GATE_ANY_MINOR                                                                                                 \
        0xfffffU /* in the number of a character device: of all that have its major and no entry of their own */

/* A lease's id. All zero: what no lease is charged for. */
typedef struct GateId {
        char text[GATE_ID_LEN];
} GateId;

/* The ids of the cgroups that are charged. */
typedef struct GateChain {
        __u64 n_levels;
        __u64 levels[GATE_LEVELS_MAX];
} GateChain;

/* Written by the daemon: what a lease may have, and who is charged for it. */
typedef struct GateRule {
        __u64 limit;
        GateChain chain;
} GateRule;

/* Written by the daemon: a VFIO character device of a lease. The key is its number as the kernel has it. */
typedef struct GateCdev {
        GateId lease;
        __u32 group;
} GateCdev;

/* Written by the daemon: how many PASIDs a cgroup and all below it may have from leases and SVA together. Updated in place, by the lock. */
typedef struct GateLimit {
        struct bpf_spin_lock lock;
        __u32 closed; /* a cgroup right below it without an entry is new, and nobody has looked yet what it may have */
        __u64 limit;
        __u64 booked; /* by leases */
} GateLimit;

/* Written by the gate: of a lease, and of a cgroup. */
typedef struct GateTally {
        struct bpf_spin_lock lock;
        __u32 reserved; /* ioctls on their way to an attach */
        __u64 in_use;
        __u64 peak;
        __u64 refused;
        __u64 killed;
        __u64 shared; /* of a cgroup: what SVA has taken, with what it is about to take */
} GateTally;

/* A group has each PASID once, whatever its devices. */
typedef struct GatePasid {
        __u32 group;
        __u32 pasid;
} GatePasid;
