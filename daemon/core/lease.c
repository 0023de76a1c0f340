/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lease.h"

static const char *const hand_overs[_HAND_OVER_MAX] = {
        [HAND_OVER_UNBOUND] = "unbound", [HAND_OVER_ATTACHED] = "attached", [HAND_OVER_GROUP] = "group",
        [HAND_OVER_NODE] = "node",       [HAND_OVER_NONE] = "none",
};

static const char *const lease_states[_LEASE_STATE_MAX] = {
        [LEASE_PREPARING] = "preparing",
        [LEASE_ACTIVE] = "active",
        [LEASE_RELEASING] = "releasing",
        [LEASE_BROKEN] = "broken",
};

static const char *const roles[_ROLE_MAX] = {
        [ROLE_LEASED] = "leased",
        [ROLE_PARKED] = "parked",
        [ROLE_HELD] = "held",
};

static const char *to_string(const char *const *names, unsigned n, unsigned value) {
        return value < n ? names[value] : "invalid";
}

static unsigned from_string(const char *const *names, unsigned n, const char *s) {
        for (unsigned i = 0; i < n; i++)
                if (streq(names[i], s))
                        return i;
        return n;
}

bool hand_over_is_legacy(HandOver h) {
        return h == HAND_OVER_GROUP || h == HAND_OVER_NODE;
}

bool hand_over_has_iommufd(HandOver h) {
        return h == HAND_OVER_UNBOUND || h == HAND_OVER_ATTACHED;
}

const char *hand_over_to_string(HandOver h) {
        return to_string(hand_overs, _HAND_OVER_MAX, h);
}

HandOver hand_over_from_string(const char *s) {
        return from_string(hand_overs, _HAND_OVER_MAX, s);
}

const char *lease_state_to_string(LeaseState s) {
        return to_string(lease_states, _LEASE_STATE_MAX, s);
}

LeaseState lease_state_from_string(const char *s) {
        return from_string(lease_states, _LEASE_STATE_MAX, s);
}

const char *role_to_string(Role role) {
        return to_string(roles, _ROLE_MAX, role);
}

Role role_from_string(const char *s) {
        return from_string(roles, _ROLE_MAX, s);
}

Lease *lease_free(Lease *l) {
        if (!l)
                return NULL;
        free(l->unit);
        free(l->cgroup);
        free(l->charged);
        free(l->devices);
        free(l);
        return NULL;
}

LeaseDevice *lease_device(const Lease *l, Address a) {
        for (size_t i = 0; i < l->n_devices; i++)
                if (address_equal(l->devices[i].address, a))
                        return &l->devices[i];
        return NULL;
}

bool lease_is_ending(const Lease *l) {
        return l->state == LEASE_RELEASING || l->state == LEASE_BROKEN;
}

bool lease_all_released(const Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++)
                if (!l->devices[i].released)
                        return false;
        return true;
}
