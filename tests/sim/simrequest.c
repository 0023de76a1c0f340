/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simdaemon.h"

/* What clients ask for, and what the examination says to it. */

void daemon_build_request(SimDaemon *d, unsigned at, HandOver hand_over, Request *q) {
        Sim *s = d->sim;
        unsigned n = 1 + (daemon_below(d, 3) == 0 ? daemon_below(d, 4) : 0);
        bool name_all = daemon_below(d, 8) != 0;

        *q = (Request) {
                .hand_over = hand_over,
                .hand_over_named = true,
                .restore = daemon_below(d, 8) != 0,
                .force_in_use = daemon_below(d, 6) == 0,
                .reset_set = hand_over_has_iommufd(hand_over) && daemon_below(d, 4) == 0,
                .pasids = daemon_below(d, 3) == 0 ? 1 + daemon_below(d, 8) : 0,
        };
        /* Neighbours mostly: they share groups and reset sets. */
        for (unsigned i = 0; i < n; i++) {
                SimDevice *sd = &s->devices[(at + i) % s->n_devices];

                if (sd->present && !facts_is_bridge(&sd->facts))
                        (void) address_list_add(&q->devices, sd->facts.address);
        }
        for (size_t i = 0, from = at > 12 ? at - 12 : 0; name_all && i < 40 && from + i < s->n_devices; i++) {
                SimDevice *sd = &s->devices[from + i];
                bool member = false;

                for (unsigned j = 0; j < n; j++)
                        member = member || s->devices[(at + j) % s->n_devices].group == sd->group;
                DriverKind kind = sim_driver_kind(s, sd);
                bool in_the_way = kind == DRIVER_HOST || (kind == DRIVER_VFIO && hand_over_is_legacy(q->hand_over));

                if (member && sd->present && !facts_is_bridge(&sd->facts) && in_the_way &&
                    !address_list_has(&q->devices, sd->facts.address))
                        (void) address_list_add(&q->members, sd->facts.address);
        }
}

/* Returns false if that failed. */
static bool refresh_scope(SimDaemon *d, const Request *q) {
        AddressList scope;

        if (examine_scope(&d->ledger.inventory, q, &scope) < 0)
                return false;
        for (size_t i = 0; i < scope.n; i++) {
                SimDevice *sd = sim_device(d->sim, scope.items[i]);
                const Device *x = inventory_device(&d->ledger.inventory, scope.items[i]);

                if (x && !x->gone && sd->present)
                        daemon_refresh(d, sd);
        }
        return simlook_uses(d, &scope);
}

bool daemon_examine(SimDaemon *d, const Caller *caller, const Request *request, Plan *ret) {
        const World world = { &d->ledger.inventory, &d->config, &d->variants, &d->ledger.quota, ENFORCEMENT_KERNEL };
        const Usage usage = ledger_usage(&d->ledger, 0);
        Findings findings = {};
        bool allowed;

        d->stale = d->sim->rate == 0 && daemon_below(d, 20) == 0;
        if (!d->stale && !refresh_scope(d, request))
                return false;
        if (examine(&world, caller, &usage, request, ret, &findings) < 0)
                abort();
        simquota_check_answer(d, caller, request->pasids, &findings);
        allowed = !findings_first_block(&findings);
        findings_clear(&findings);
        return allowed;
}
