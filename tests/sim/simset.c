/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simdaemon.h"

/* Leases with reset-set: the kernel resets the bus of a device only for whose iommufd has all that the reset hits. */

void simset_anchor(const Tenant *t, Job *job) {
        job->anchor = t->lease->reset_set && hand_over_has_iommufd(t->lease->hand_over) && t->iommufd >= 0;
        if (job->anchor)
                job->iommufd = t->iommufd;
}

static bool is_in_set(const SimDevice *sd, Address set) {
        return sd->present && address_equal(inventory_set_key(&sd->facts), set);
}

void simset_check(SimDaemon *d, const Tenant *t) {
        if (t->stale || t->n_hotplugs != d->sim->n_hotplugs)
                return;
        for (size_t i = 0; i < t->lease->n_devices && t->lease->reset_set; i++)
                for (size_t j = 0; j < d->sim->n_devices && t->lease->devices[i].role == ROLE_LEASED; j++)
                        if (is_in_set(&d->sim->devices[j], t->lease->devices[i].set) &&
                            !lease_device(t->lease, d->sim->devices[j].facts.address))
                                model_found(&d->model, FLAW_RESET_SET, &d->sim->devices[j],
                                            "it shares a reset with a device that was lent with its reset set");
}

void simset_check_parked(SimDaemon *d, const Job *job) {
        for (size_t i = 0; i < job->n_devices && job->anchor; i++) {
                const JobDevice *j = &job->devices[i];
                const SimDevice *sd = sim_device(d->sim, j->lease.address);

                if (j->stays && j->lease.released && j->error >= 0 && sd->present && (j->fd < 0 || sd->bound_file < 0))
                        model_found(&d->model, FLAW_RESET_SET, sd,
                                    "it is parked, and the kernel does not call it the lease's");
        }
}

/* Is everything that the reset hits where the daemon has put it, and held by it? */
static bool is_complete(const SimDaemon *d, const Tenant *t, Address set) {
        for (size_t i = 0; i < d->sim->n_devices; i++) {
                const SimDevice *sd = &d->sim->devices[i];
                const LeaseDevice *ld = is_in_set(sd, set) ? lease_device(t->lease, sd->facts.address) : NULL;

                if (is_in_set(sd, set) && (!ld || t->fds[ld - t->lease->devices] < 0 || sd->bound_file < 0 ||
                                           sim_driver_kind(d->sim, sd) != DRIVER_VFIO))
                        return false;
        }
        return true;
}

/* As broker/reset.c: which descriptor can reset it, and what is the least that it can reset? */
static int find_descriptor(const Tenant *t, size_t i, ResetMethod *ret) {
        const Lease *l = t->lease;

        *ret = RESET_FUNCTION;
        if (l->hand_over == HAND_OVER_ATTACHED && t->fds[i] >= 0)
                return t->fds[i];
        *ret = RESET_HOT;
        for (size_t j = 0; j < l->n_devices; j++)
                if (l->devices[j].role == ROLE_PARKED && address_equal(l->devices[j].set, l->devices[i].set) &&
                    t->fds[j] >= 0)
                        return t->fds[j];
        return -EBADF;
}

void simset_reset(SimDaemon *d, Tenant *t, size_t i) {
        Job *job = daemon_job(d, JOB_RESET, t->lease->hand_over);
        const LeaseDevice *ld = &t->lease->devices[i];
        bool complete;

        job->device_fd = find_descriptor(t, i, &job->reset_method);
        if (job->device_fd < 0 || daemon_is_locked(d, ld))
                return;
        if (t->lease->reset_set && daemon_below(d, 2))
                job->reset_method = RESET_HOT;
        complete = t->lease->reset_set && sim_device(d->sim, ld->address)->present && is_complete(d, t, ld->set);
        job->devices[job->n_devices++] = (JobDevice) { .lease = *ld, .fd = -EBADF };
        (void) daemon_run(d, job);
        d->n_resets++;
        d->n_hot_resets += job->result >= 0 && job->reset_method == RESET_HOT;
        if (complete && !d->faulted && job->result < 0)
                model_found(&d->model, FLAW_RESET_SET, sim_device(d->sim, ld->address),
                            "it was lent with its reset set, and no reset of it is possible");
}
