/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease.h"
#include "core/pasid.h"

/* The gate's maps. The programs that use them are in daemon/bpf; both are pinned, and stay when the daemon ends. */

typedef enum GateMap {
        GATE_MAP_RULES,
        GATE_MAP_CDEVS,
        GATE_MAP_GROUPS,
        GATE_MAP_LEASE_TALLIES,
        GATE_MAP_LEVEL_TALLIES,
        GATE_MAP_LIMITS,
        GATE_MAP_NODES,
        _GATE_MAP_MAX,
} GateMap;

typedef struct Gate {
        int directory; /* of the pins, with a shared lock on it: the programs stay as long as it is held */
        int maps[_GATE_MAP_MAX];
} Gate;

#define GATE_CLOSED                                                                                                    \
        (Gate) {                                                                                                       \
                .directory = -EBADF, .maps = { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF, -EBADF, -EBADF }                \
        }

/* Loads, attaches and pins the programs, unless they are there already. Takes seconds. -EOPNOTSUPP: this kernel cannot have them;
 * -EPERM: this process may not, or the kernel is locked down. */
int gate_load(void);
/* Opens the maps of the pinned gate. -ENOENT: there is none. */
int gate_open(Gate *g);
void gate_close(Gate *g);
/* Removes programs and maps. -EBUSY: a lease depends on them, or a daemon has them open. -ENOENT: there are none. */
int gate_unload(void);

/* All of these: -ENOENT if the gate is not open, or does not know the lease or cgroup. */
int gate_set_lease(const Gate *g, const GateLease *l);
int gate_drop_lease(const Gate *g, const char *id);
int gate_read_lease(const Gate *g, const char *id, PasidCounts *ret);
int gate_read_level(const Gate *g, uint64_t cgroup_id, PasidCounts *ret);
/* The ids of all leases that the gate knows; to be freed. */
int gate_list_leases(const Gate *g, char (**ret)[LEASE_ID_LEN + 1], size_t *ret_n);
int gate_set_limit(const Gate *g, const PasidLimit *l);
/* Forgets the limits of all other cgroups, and sorts ids. */
int gate_keep_limits(const Gate *g, uint64_t *ids, size_t n);
/* Looks which character devices give whoever opens them a PASID, and tells the programs. */
int gate_note_nodes(const Gate *g, int root_fd);
