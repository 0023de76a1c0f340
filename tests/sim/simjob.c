/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simdaemon.h"

/* Jobs, and the locks that keep two workers from one device, as broker/task.c has them. */

Job *daemon_job(SimDaemon *d, JobKind kind, HandOver hand_over) {
        Job *job = &d->jobs[d->depth];

        job_init(job, kind);
        job->hand_over = hand_over;
        return job;
}

static bool is_function_of(const SimDevice *vf, const SimDevice *pf) {
        return vf->facts.virtual_function && address_equal(vf->facts.physical_function, pf->facts.address);
}

/* Who has a physical function has the virtual ones, too. */
static bool share_lock(const SimDaemon *d, const LeaseDevice *a, const LeaseDevice *b) {
        const SimDevice *sa = sim_device(d->sim, a->address), *sb = sim_device(d->sim, b->address);

        return address_equal(a->set, b->set) || is_function_of(sa, sb) || is_function_of(sb, sa);
}

/* A worker that hangs keeps all its locks. */
static bool is_stuck(const SimDaemon *d, const SimDevice *sd) {
        const SimDevice *at = d->stuck_at[sd - d->sim->devices];
        const SimDevice *vf;

        if (sd->lock != SIM_UNLOCKED || (at && at->lock != SIM_UNLOCKED))
                return true;
        SIM_FOREACH_FUNCTION (d->sim, sd, sd->facts.virtual_functions, vf)
                if (is_stuck(d, vf))
                        return true;
        return false;
}

bool daemon_is_locked(SimDaemon *d, const LeaseDevice *ld) {
        if (is_stuck(d, sim_device(d->sim, ld->address)))
                return true;
        for (unsigned i = 0; i < d->depth; i++)
                for (size_t j = 0; j < d->jobs[i].n_devices && job_has_locks(&d->jobs[i]); j++)
                        if (share_lock(d, &d->jobs[i].devices[j].lease, ld))
                                return true;
        return false;
}

bool daemon_is_any_locked(SimDaemon *d, const Job *job) {
        for (size_t i = 0; i < job->n_devices; i++)
                if (daemon_is_locked(d, &job->devices[i].lease))
                        return true;
        return false;
}

static unsigned long count_faults(const Sim *s) {
        unsigned long n = 0;

        for (unsigned i = 0; i < _SIM_FAULT_MAX; i++)
                n += s->n_faults[i];
        return n;
}

bool daemon_is_undisturbed(const SimDaemon *d) {
        return d->sim->meanwhile_rate == 0 && count_faults(d->sim) == d->faults_before;
}

SimOutcome daemon_run(SimDaemon *d, Job *job) {
        unsigned long outer = d->faults_before, faults = count_faults(d->sim);
        SimOutcome outcome;

        d->faults_before = faults;
        outcome = sim_run(d->sim, job);
        d->faults_before = outer;

        d->faulted = outcome != SIM_DONE || count_faults(d->sim) != faults;
        if (d->faulted)
                simvirtual_note_fault(d, job);

        for (size_t i = 0; i < job->n_devices && outcome == SIM_HUNG && job_has_locks(job); i++)
                d->stuck_at[sim_device(d->sim, job->devices[i].lease.address) - d->sim->devices] = d->sim->hung_at;
        d->n_hung += outcome == SIM_HUNG;
        d->n_died += outcome == SIM_DIED;
        return outcome;
}

SimOutcome daemon_run_alone(SimDaemon *d, Job *job) {
        unsigned rate = TAKE(d->sim->meanwhile_rate, 0);
        SimOutcome outcome = daemon_run(d, job);

        d->sim->meanwhile_rate = rate;
        return outcome;
}
