/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <bpf/bpf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/sysmacros.h>

#include "bpf/gate.h"
#include "kernel/gate-map.h"
#include "kernel/gate-pin.h"
#include "kernel/gate.h"
#include "util/fd.h"

void gate_close(Gate *g) {
        fd_close(g->directory);
        for (GateMap m = 0; m < _GATE_MAP_MAX; m++)
                fd_close(g->maps[m]);
        *g = GATE_CLOSED;
}

int gate_open(Gate *g) {
        static const char *const names[_GATE_MAP_MAX] = {
                [GATE_MAP_RULES] = "rules",
                [GATE_MAP_CDEVS] = "cdevs",
                [GATE_MAP_GROUPS] = "groups",
                [GATE_MAP_LEASE_TALLIES] = "lease_tallies",
                [GATE_MAP_LEVEL_TALLIES] = "level_tallies",
                [GATE_MAP_LIMITS] = "limits",
                [GATE_MAP_NODES] = "nodes",
        };
        Gate found = GATE_CLOSED;
        int r;

        found.directory = r = gate_pin_lock(LOCK_SH);
        for (GateMap m = 0; r >= 0 && m < _GATE_MAP_MAX; m++)
                found.maps[m] = r = gate_pin_open(names[m]);
        if (r < 0) {
                gate_close(&found);
                return r;
        }
        gate_close(g);
        *g = found;
        return 0;
}

static GateId id_of(const char *id) {
        GateId gid = {};

        (void) memcpy(gid.text, id, strnlen(id, GATE_ID_LEN));
        return gid;
}

static uint32_t number_of(dev_t d) {
        return gate_map_number(major(d), minor(d));
}

/* A tally goes on if it is there. */
static int make_tally(int map, const void *key) {
        static const GateTally empty;
        int r = gate_map_put(map, key, &empty, BPF_NOEXIST);

        return r == -EEXIST ? 0 : r;
}

typedef struct Search {
        uint64_t level;
        bool found;
} Search;

static int search_rule(int map, const void *key, void *userdata) {
        Search *search = userdata;
        GateRule rule;

        if (bpf_map_lookup_elem(map, key, &rule) < 0)
                return 0;
        for (unsigned i = 0; i < rule.chain.n_levels && i < GATE_LEVELS_MAX; i++)
                search->found = search->found || rule.chain.levels[i] == search->level;
        return 0;
}

static int forget_level(int map, const void *key, void *userdata) {
        const Gate *g = userdata;
        Search search = { .level = *(const uint64_t *) key };
        GateId id, next;
        GateTally t;
        int r;

        if (bpf_map_lookup_elem(map, key, &t) < 0 || t.in_use > 0 || t.shared > 0)
                return 0;
        r = gate_map_for_each(g->maps[GATE_MAP_RULES], &id, &next, sizeof(id), search_rule, &search);
        return r < 0 || search.found ? r : bpf_map_delete_elem(map, key);
}

/* Cgroups come and go, and nobody tells which are gone. When there are too many, those that have nothing are forgotten. */
static int make_level(const Gate *g, uint64_t level) {
        int map = g->maps[GATE_MAP_LEVEL_TALLIES], r = make_tally(map, &level);
        uint64_t key, next;

        if (r != -E2BIG)
                return r;
        r = gate_map_for_each(map, &key, &next, sizeof(key), forget_level, (void *) g);
        return r < 0 ? r : make_tally(map, &level);
}

typedef struct Sweep {
        GateId id;
        const GateLease *lease; /* whose devices stay; NULL: none does */
} Sweep;

static int sweep_cdev(int map, const void *key, void *userdata) {
        const Sweep *sweep = userdata;
        GateCdev cdev;

        if (bpf_map_lookup_elem(map, key, &cdev) < 0 || memcmp(&cdev.lease, &sweep->id, sizeof(cdev.lease)) != 0)
                return 0;
        for (size_t i = 0; sweep->lease && i < sweep->lease->n_devices; i++)
                if (number_of(sweep->lease->devices[i].cdev) == *(const uint32_t *) key)
                        return 0;
        return bpf_map_delete_elem(map, key);
}

static int sweep_group(int map, const void *key, void *userdata) {
        const Sweep *sweep = userdata;
        GateId lease;

        if (bpf_map_lookup_elem(map, key, &lease) < 0 || memcmp(&lease, &sweep->id, sizeof(lease)) != 0)
                return 0;
        for (size_t i = 0; sweep->lease && i < sweep->lease->n_devices; i++)
                if ((uint32_t) sweep->lease->devices[i].group == *(const uint32_t *) key)
                        return 0;
        return bpf_map_delete_elem(map, key);
}

/* Takes devices from the gate that the lease has no more. */
static int sweep(const Gate *g, Sweep *what) {
        uint32_t key, next;
        int r = gate_map_for_each(g->maps[GATE_MAP_CDEVS], &key, &next, sizeof(key), sweep_cdev, what);

        return r < 0 ? r : gate_map_for_each(g->maps[GATE_MAP_GROUPS], &key, &next, sizeof(key), sweep_group, what);
}

static int put_devices(const Gate *g, const GateLease *l, const GateId *id) {
        int r = 0;

        for (size_t i = 0; i < l->n_devices && r >= 0; i++) {
                GateCdev cdev = { .lease = *id, .group = (uint32_t) l->devices[i].group };
                uint32_t number = number_of(l->devices[i].cdev);

                r = gate_map_put(g->maps[GATE_MAP_GROUPS], &cdev.group, id, BPF_ANY);
                if (r >= 0)
                        r = gate_map_put(g->maps[GATE_MAP_CDEVS], &number, &cdev, BPF_ANY);
        }
        return r;
}

int gate_set_lease(const Gate *g, const GateLease *l) {
        GateRule rule = { .limit = l->limit, .chain.n_levels = l->chain.n_levels };
        GateId id = id_of(l->id);
        int r = 0;

        _Static_assert(GATE_LEVELS_MAX == PASID_LEVELS_MAX, "a chain has to fit");
        (void) memcpy(rule.chain.levels, l->chain.levels, sizeof(rule.chain.levels));
        /* What a program looks for comes before what makes it look. */
        for (unsigned i = 0; i < rule.chain.n_levels && r >= 0; i++)
                r = make_level(g, rule.chain.levels[i]);
        if (r >= 0)
                r = make_tally(g->maps[GATE_MAP_LEASE_TALLIES], &id);
        if (r >= 0)
                r = gate_map_put(g->maps[GATE_MAP_RULES], &id, &rule, BPF_ANY);
        if (r >= 0)
                r = put_devices(g, l, &id);
        if (r >= 0)
                r = sweep(g, &(Sweep) { .id = id, .lease = l });
        return r;
}

/* An earlier version that was left for the leases of its time. What it knows of one that has ended would be refused to the next. */
static void drop_from_other(const char *directory, void *userdata) {
        static const char *const names[] = {
                [GATE_MAP_RULES] = "rules", [GATE_MAP_CDEVS] = "cdevs", [GATE_MAP_GROUPS] = "groups"
        };
        Sweep what = { .id = *(const GateId *) userdata };
        Gate other = GATE_CLOSED;

        for (size_t m = 0; m < ARRAY_SIZE(names); m++)
                other.maps[m] = gate_pin_open_in(directory, names[m]);
        (void) sweep(&other, &what);
        (void) bpf_map_delete_elem(other.maps[GATE_MAP_RULES], &what.id);
        gate_close(&other);
}

int gate_drop_lease(const Gate *g, const char *id) {
        GateId gid = id_of(id);
        int r = sweep(g, &(Sweep) { .id = gid });

        if (r < 0)
                return r;
        gate_pin_for_each_other(drop_from_other, &gid);
        (void) bpf_map_delete_elem(g->maps[GATE_MAP_RULES], &gid);
        return bpf_map_delete_elem(g->maps[GATE_MAP_LEASE_TALLIES], &gid);
}

static int read_tally(int map, const void *key, PasidCounts *ret) {
        GateTally t;
        int r = map < 0 ? -ENOENT : bpf_map_lookup_elem_flags(map, key, &t, BPF_F_LOCK);

        if (r < 0)
                return r;
        *ret = (PasidCounts) {
                .in_use = t.in_use, .peak = t.peak, .shared = t.shared, .refused = t.refused, .killed = t.killed
        };
        return 0;
}

int gate_read_lease(const Gate *g, const char *id, PasidCounts *ret) {
        GateId gid = id_of(id);

        return read_tally(g->maps[GATE_MAP_LEASE_TALLIES], &gid, ret);
}

int gate_read_level(const Gate *g, uint64_t cgroup_id, PasidCounts *ret) {
        return read_tally(g->maps[GATE_MAP_LEVEL_TALLIES], &cgroup_id, ret);
}

int gate_set_limit(const Gate *g, const PasidLimit *l) {
        GateLimit limit = { .closed = l->closed, .limit = l->limit, .booked = l->booked };
        int r = make_level(g, l->id);

        return r < 0 ? r : gate_map_put(g->maps[GATE_MAP_LIMITS], &l->id, &limit, BPF_F_LOCK);
}

typedef struct Known {
        const uint64_t *ids;
        size_t n;
} Known;

static int compare_ids(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return (x > y) - (x < y);
}

static int drop_unknown(int map, const void *key, void *userdata) {
        const Known *known = userdata;

        return bsearch(key, known->ids, known->n, sizeof(uint64_t), compare_ids) ? 0 : bpf_map_delete_elem(map, key);
}

int gate_keep_limits(const Gate *g, uint64_t *ids, size_t n) {
        Known known = { ids, n };
        uint64_t key, next;

        qsort(ids, n, sizeof(*ids), compare_ids);
        return gate_map_for_each(g->maps[GATE_MAP_LIMITS], &key, &next, sizeof(key), drop_unknown, &known);
}

typedef struct Listing {
        char (*ids)[LEASE_ID_LEN + 1];
        size_t n;
} Listing;

static int list_lease(_unused_ int map, const void *key, void *userdata) {
        static const GateId nobody;
        Listing *list = userdata;
        char(*grown)[LEASE_ID_LEN + 1];

        if (memcmp(key, &nobody, sizeof(nobody)) == 0)
                return 0;
        grown = reallocarray(list->ids, list->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        list->ids = grown;
        (void) memcpy(grown[list->n], key, GATE_ID_LEN);
        grown[list->n++][GATE_ID_LEN] = '\0';
        return 0;
}

int gate_list_leases(const Gate *g, char (**ret)[LEASE_ID_LEN + 1], size_t *ret_n) {
        Listing list = {};
        GateId key, next;
        int r;

        /* Its tally is what a lease has first and loses last. */
        r = gate_map_for_each(g->maps[GATE_MAP_LEASE_TALLIES], &key, &next, sizeof(key), list_lease, &list);
        if (r < 0) {
                free(list.ids);
                return r;
        }
        *ret = list.ids;
        *ret_n = list.n;
        return 0;
}
