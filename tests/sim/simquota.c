/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simdaemon.h"

/* PASIDs: clients in a tree of cgroups, and an administrator who changes its limits. What is booked is counted here by other means than the
 * ledger's: over the leases, name by name. */

static const char *const cgroups[SIM_CGROUPS] = {
        "/", "/vm.slice", "/vm.slice/a.service", "/vm.slice/b.service", "/vm.slice/vm-c.slice/d.scope", "/user.slice",
};

const char *simquota_cgroup(SimDaemon *d) {
        return cgroups[daemon_below(d, SIM_CGROUPS)];
}

static void put(SimDaemon *d, unsigned i) {
        if (quota_settings_put(&d->ledger.quota.runtime, cgroups[i], d->limits[i]) < 0)
                abort();
}

void simquota_restore(SimDaemon *d) {
        for (unsigned i = 0; i < SIM_CGROUPS; i++)
                put(d, i);
}

void simquota_init(SimDaemon *d) {
        for (unsigned i = 0; i < SIM_CGROUPS; i++)
                d->limits[i] = QUOTA_UNLIMITED;
}

void simquota_change(SimDaemon *d) {
        unsigned i = daemon_below(d, SIM_CGROUPS);

        d->limits[i] = daemon_below(d, 4) == 0 ? QUOTA_UNLIMITED : daemon_below(d, 24);
        put(d, i);
}

bool simquota_is_within(const char *path, const char *cgroup) {
        size_t n = streq(cgroup, "/") ? 0 : strlen(cgroup);

        return strncmp(path, cgroup, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static uint64_t count(const SimDaemon *d, const char *cgroup) {
        uint64_t sum = 0;

        for (size_t i = 0; i < d->n_tenants; i++)
                if (simquota_is_within(d->tenants[i]->lease->charged, cgroup))
                        sum += d->tenants[i]->lease->pasids;
        return sum;
}

void simquota_check_answer(SimDaemon *d, const Caller *caller, uint32_t wanted, const Findings *findings) {
        bool refused = false, room = true;

        for (size_t i = 0; i < findings->n; i++)
                refused = refused || findings->items[i].code == FINDING_QUOTA ||
                          findings->items[i].code == FINDING_QUOTA_BOOKED;
        for (unsigned i = 0; i < SIM_CGROUPS; i++)
                if (wanted > 0 && simquota_is_within(caller->charged, cgroups[i]))
                        room = room && count(d, cgroups[i]) + wanted <= d->limits[i];
        d->n_over_quota += refused;
        if (room == refused)
                model_found(&d->model, FLAW_QUOTA, NULL,
                            room ? "PASIDs are refused although there is room" : "more PASIDs than a limit leaves");
}

void simquota_check(SimDaemon *d) {
        for (unsigned i = 0; i < SIM_CGROUPS; i++) {
                const QuotaLevel *level = quota_level(&d->ledger.quota, cgroups[i]);

                if ((level ? level->booked : 0) != count(d, cgroups[i]))
                        model_found(&d->model, FLAW_QUOTA, NULL,
                                    "what is booked in a cgroup is not what its leases have");
        }
}
