/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simdaemon.h"

/* What the daemon has its workers look at, and the modules at its start. What they find is compared with what is. */

void simlook_setup(SimDaemon *d) {
        Job *job = daemon_job(d, JOB_SETUP, HAND_OVER_NONE);
        Kernel *k = &d->sim->kernel;

        d->starting = true;
        (void) daemon_run(d, job);
        d->starting = false;
        /* The rest of the run is about a kernel with the gate. */
        if (job->result < 0 && k->ops->gate_load(k) < 0)
                abort();
}

bool simlook_uses(SimDaemon *d, const AddressList *scope) {
        Job *job = daemon_job(d, JOB_USES, HAND_OVER_NONE);
        _cleanup_free_ HostUses *uses = NULL;
        bool done;

        for (size_t i = 0; i < scope->n; i++) {
                Device *x = inventory_device(&d->ledger.inventory, scope->items[i]);

                if (!x || x->lease)
                        continue;
                if (x->facts.driver_kind == DRIVER_HOST && !facts_is_bridge(&x->facts))
                        job->devices[job->n_devices++] = (JobDevice) { .lease.address = scope->items[i], .fd = -EBADF };
                else
                        x->uses.n = 0;
        }
        if (job->n_devices == 0)
                return true;
        job->uses = uses = malloc(job->n_devices * sizeof(*uses));
        if (!uses)
                abort();
        done = daemon_run(d, job) == SIM_DONE && job->result >= 0;
        for (size_t i = 0; i < job->n_devices && done; i++) {
                Device *x = inventory_device(&d->ledger.inventory, job->devices[i].lease.address);

                if (x && sim_device(d->sim, x->facts.address)->present)
                        x->uses = uses[i];
        }
        return done;
}

static void survey(SimDaemon *d) {
        Job *job = daemon_job(d, JOB_SURVEY, HAND_OVER_NONE);
        SimOutcome outcome;
        Device *x;

        INVENTORY_FOREACH_DEVICE (&d->ledger.inventory, x) {
                if (x->surveyed || x->surveying || job->n_devices == JOB_DEVICES_MAX)
                        continue;
                x->surveying = true;
                job->devices[job->n_devices++] = (JobDevice) { .lease.address = x->facts.address, .fd = -EBADF };
        }
        outcome = daemon_run(d, job);
        for (size_t i = 0; i < job->n_devices; i++) {
                const JobDevice *j = &job->devices[i];

                x = inventory_device(&d->ledger.inventory, j->lease.address);
                if (!x || !x->surveying)
                        continue;
                x->surveying = false;
                x->surveyed = true;
                if (outcome == SIM_DONE && j->error >= 0)
                        x->pasid_bits = j->pasid_bits;
                if (outcome == SIM_DONE && j->error >= 0 &&
                    x->pasid_bits != sim_device(d->sim, j->lease.address)->pasid_bits)
                        model_found(&d->model, FLAW_UNSEEN, sim_device(d->sim, j->lease.address),
                                    "its PASIDs are miscounted");
        }
}

/* Does a process that can be seen have it open, or its group? */
static bool is_held(Sim *s, const SimDevice *sd) {
        for (size_t i = 0; i < s->n_fds; i++)
                if (s->fds[i].pid != SIM_PID_FLIGHT && sim_is_of(s, &s->fds[i], sd))
                        return true;
        return false;
}

static bool is_held_or_its_functions(Sim *s, const SimDevice *sd) {
        const SimDevice *vf;

        if (!sd->present)
                return false;
        if (is_held(s, sd))
                return true;
        SIM_FOREACH_FUNCTION (s, sd, sd->facts.virtual_functions, vf)
                if (vf->present && is_held(s, vf))
                        return true;
        return false;
}

static void find_holders(SimDaemon *d) {
        Job *job = daemon_job(d, JOB_HOLDERS, HAND_OVER_NONE);
        unsigned at = daemon_below(d, (unsigned) d->sim->n_devices);

        for (unsigned i = 0; i < 8; i++)
                job->devices[job->n_devices++] = (JobDevice) {
                        .lease.address = d->sim->devices[(at + i) % d->sim->n_devices].facts.address,
                        .fd = -EBADF,
                };
        (void) daemon_run_alone(d, job);
        if (!d->faulted)
                for (size_t i = 0; i < job->n_devices; i++) {
                        const JobDevice *j = &job->devices[i];
                        const SimDevice *sd = sim_device(d->sim, j->lease.address);

                        if ((j->holders.n > 0) != is_held_or_its_functions(d->sim, sd))
                                model_found(&d->model, FLAW_UNSEEN, sd, "who has it open is not seen");
                }
}

void simlook(SimDaemon *d) {
        if (daemon_below(d, 2))
                survey(d);
        else
                find_holders(d);
}
