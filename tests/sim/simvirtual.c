/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "core/virtual.h"
#include "sim/simdaemon.h"
#include "util/text.h"

/* An administrator changes how many virtual functions a device has, as broker/virtual.c does it. */

static SimDevice *some_physical(SimDaemon *d) {
        unsigned at = daemon_below(d, (unsigned) d->sim->n_devices);

        for (size_t i = 0; i < d->sim->n_devices; i++) {
                SimDevice *sd = &d->sim->devices[(at + i) % d->sim->n_devices];

                if (sd->present && sd->facts.virtual_functions_max > 0)
                        return sd;
        }
        return NULL;
}

/* The device and its virtual functions, as they are now. */
static bool refresh(SimDaemon *d, SimDevice *pf) {
        AddressList scope = {};
        SimDevice *vf;

        daemon_refresh(d, pf);
        SIM_FOREACH_FUNCTION (d->sim, pf, pf->facts.virtual_functions_max, vf)
                if (vf->present) {
                        daemon_refresh(d, vf);
                        (void) address_list_add(&scope, vf->facts.address);
                }
        return simlook_uses(d, &scope);
}

static void add_device(Job *job, const Device *x) {
        JobDevice *j = &job->devices[job->n_devices++];

        *j = (JobDevice) {
                .lease = { .address = x->facts.address, .group = x->facts.group, .set = inventory_set_key(&x->facts) },
                .fd = -EBADF,
        };
        (void) text_copy(j->lease.driver, NAME_MAX_LEN, x->facts.driver);
        (void) text_copy(j->lease.original_driver, NAME_MAX_LEN, x->facts.driver);
        (void) text_copy(j->lease.original_override, NAME_MAX_LEN, x->facts.driver_override);
}

/* Before any goes: is one of them somebody's? */
static void check_removal(SimDaemon *d, const SimDevice *pf, bool force) {
        const SimDevice *vf;

        SIM_FOREACH_FUNCTION (d->sim, pf, pf->facts.virtual_functions_max, vf) {
                const Device *x = inventory_device(&d->ledger.inventory, vf->facts.address);

                if (!vf->present)
                        continue;
                if (x && x->lease)
                        model_found(&d->model, FLAW_FUNCTIONS, vf, "it is to be removed, and belongs to a lease");
                if (vf->in_use && !force && !d->stale)
                        model_found(&d->model, FLAW_FUNCTIONS, vf, "it is to be removed, and the host uses it");
        }
}

static void check_made(SimDaemon *d, const SimDevice *pf, uint32_t n) {
        const SimDevice *vf;
        uint32_t i = 0;

        if (!pf->present)
                return;
        if (pf->facts.virtual_functions != n)
                model_found(&d->model, FLAW_FUNCTIONS, pf, "it has another number of them than was asked for");
        SIM_FOREACH_FUNCTION (d->sim, pf, pf->facts.virtual_functions_max, vf) {
                /* One that was pulled is not back before all of its descriptors are closed. */
                if (vf->present != (i++ < n) && vf->n_open == 0)
                        model_found(&d->model, FLAW_FUNCTIONS, vf,
                                    "it is there and should not, or the other way round");
                else if (vf->present && sim_driver_kind(d->sim, vf) == DRIVER_HOST)
                        model_found(&d->model, FLAW_FUNCTIONS, vf, "the host took it as soon as it was made");
        }
}

/* What could not be put back was told of. */
static void note_errors(SimDaemon *d, const Job *job) {
        for (size_t i = 1; i < job->n_devices; i++) {
                const SimDevice *vf = sim_device(d->sim, job->devices[i].lease.address);

                if (vf->present && job->devices[i].error < 0)
                        model_settle(&d->model, vf);
        }
}

static void change(SimDaemon *d, SimDevice *pf, uint32_t n, bool force) {
        Job *job = daemon_job(d, JOB_VIRTUAL_FUNCTIONS, HAND_OVER_NONE);
        Device *x = inventory_device(&d->ledger.inventory, pf->facts.address), *vf;
        SimOutcome outcome;

        job->virtual_functions = n;
        job->force_in_use = force;
        job->restore = true;
        add_device(job, x);
        VIRTUAL_FOREACH (&d->ledger.inventory, x, vf)
                add_device(job, vf);
        if (daemon_is_any_locked(d, job))
                return;
        if (n == 0)
                check_removal(d, pf, force);
        x->changing = true;
        outcome = daemon_run(d, job);
        daemon_sync_hotplug(d);
        x = inventory_device(&d->ledger.inventory, pf->facts.address);
        /* A worker that hangs is waited for. */
        if (x)
                x->changing = outcome == SIM_HUNG && pf->lock != SIM_UNLOCKED;
        d->n_changes += outcome == SIM_DONE && job->result >= 0;
        if (outcome == SIM_DONE && job->result >= 0)
                check_made(d, pf, n);
        else if (outcome == SIM_DONE)
                note_errors(d, job);
}

void simvirtual_change(SimDaemon *d) {
        const Caller caller = { .unit = "", .cgroup = "/", .charged = "/" };
        SimDevice *pf = some_physical(d);
        bool force = daemon_below(d, 6) == 0;
        Findings findings = {};
        const Device *x;
        uint32_t n;

        if (!pf)
                return;
        n = pf->facts.virtual_functions > 0 ? 0 : 1 + daemon_below(d, pf->facts.virtual_functions_max);
        if (!refresh(d, pf))
                return;
        x = inventory_device(&d->ledger.inventory, pf->facts.address);
        if (!x || x->gone || !pf->present)
                return;
        virtual_judge_change(&d->ledger.inventory, x, n, force, &caller, &findings);
        if (!findings_first_block(&findings))
                change(d, pf, n, force);
        findings_clear(&findings);
}

void simvirtual_note_fault(SimDaemon *d, const Job *job) {
        for (size_t i = 0; i < job->n_devices; i++) {
                const SimDevice *sd = sim_device(d->sim, job->devices[i].lease.address), *vf;

                SIM_FOREACH_FUNCTION (d->sim, sd, sd->facts.virtual_functions_max, vf) {
                        const Device *x = inventory_device(&d->ledger.inventory, vf->facts.address);

                        if (vf->present && x && x->lease)
                                model_home(&d->model, vf)->swapped = true;
                        else if (vf->present)
                                model_settle(&d->model, vf);
                }
        }
}

/* As broker/virtual.c gives them: the virtual ones have that of their physical one. */
void simvirtual_give_tokens(const SimDaemon *d, LeaseDevice *devices, size_t n) {
        for (size_t i = 0; i < n; i++) {
                const Device *x = inventory_device(&d->ledger.inventory, devices[i].address);
                const Device *pf = x ? virtual_physical(&d->ledger.inventory, x) : NULL;
                const LeaseDevice *of_pf = pf && pf->lease ? lease_device(pf->lease, pf->facts.address) : NULL;

                if (of_pf)
                        (void) text_copy(devices[i].vf_token, VF_TOKEN_MAX, of_pf->vf_token);
                else if (x && x->facts.virtual_functions_max > 0)
                        (void) snprintf(devices[i].vf_token, VF_TOKEN_MAX, "%u", d->serial);
        }
}
