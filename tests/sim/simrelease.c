/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "sim/simdaemon.h"
#include "util/text.h"

static void close_own(SimDaemon *d, int *fd) {
        if (*fd >= 0)
                (void) sim_close(d->sim, *fd);
        *fd = -EBADF;
}

void release_close_fds(SimDaemon *d, Tenant *t) {
        close_own(d, &t->iommufd);
        for (size_t i = 0; i < TENANT_DEVICES; i++)
                close_own(d, &t->fds[i]);
}

void release_begin(SimDaemon *d, Tenant *t, const char *reason) {
        ledger_begin_release(&d->ledger, t->lease, reason);
        daemon_save(t);
        release_close_fds(d, t);
}

bool release_end(SimDaemon *d, Tenant *t) {
        const Lease *l = t->lease;

        if (!lease_all_released(l))
                return false;
        model_check_close(&d->model, l);
        for (size_t i = 0; i < l->n_devices; i++) {
                const LeaseDevice *ld = &l->devices[i];
                SimDevice *sd = sim_device(d->sim, ld->address);

                if (model_home(&d->model, sd)->swapped) {
                        model_home(&d->model, sd)->swapped = false;
                        model_settle(&d->model, sd);
                        continue;
                }
                /* It may stay on the VFIO driver: then that is what it is from now on. */
                if (!l->restore && ld->role == ROLE_LEASED && sd->present) {
                        (void) text_copy(model_home(&d->model, sd)->driver, NAME_MAX_LEN, ld->driver);
                        (void) text_copy(model_home(&d->model, sd)->override, NAME_MAX_LEN, ld->driver);
                }
        }
        ledger_close(&d->ledger, t->lease);
        for (size_t i = 0; i < d->n_tenants; i++) {
                if (d->tenants[i] != t)
                        continue;
                d->tenants[i] = d->tenants[--d->n_tenants];
                break;
        }
        lease_free(t->saved);
        free(t);
        return true;
}

/* Only after the last close, or when nothing tells of closes any more; never while a worker sleeps there. */
static bool is_time(const SimDaemon *d, const Tenant *t, unsigned part) {
        bool work = false;

        for (size_t i = 0; i < t->lease->n_devices; i++) {
                const LeaseDevice *ld = &t->lease->devices[i];
                const SimDevice *sd = sim_device(d->sim, ld->address);

                if (t->part[i] != part)
                        continue;
                if (sd->lock != SIM_UNLOCKED)
                        return false;
                work = work || !ld->released;
                if (ld->opened && !ld->closed && sd->present && !t->blind)
                        return false;
        }
        return work;
}

static void note_device(SimDaemon *d, Tenant *t, LeaseDevice *ld, const JobDevice *j) {
        char reason[128] = "";

        if (!j->lease.released)
                return; /* it is tried again */
        ledger_device_released(&d->ledger, t->lease, ld);
        if (j->error >= 0)
                return;
        text_append(reason, sizeof(reason), "failed to %s: %s", step_to_string(j->step), strerror(-j->error));
        ledger_device_broken(&d->ledger, t->lease, ld, reason);
        d->n_broken++;
}

static void restore_part(SimDaemon *d, Tenant *t, unsigned part) {
        unsigned at[JOB_DEVICES_MAX];
        Job *job = &d->job;
        SimOutcome outcome;

        *job = (Job) { .kind = JOB_RESTORE, .restore = t->lease->restore, .iommufd = -EBADF };
        for (unsigned i = 0; i < t->lease->n_devices; i++) {
                if (t->part[i] != part || t->lease->devices[i].released)
                        continue;
                at[job->n_devices] = i;
                job->devices[job->n_devices++] = (JobDevice) { .lease = t->lease->devices[i], .fd = -EBADF };
        }
        outcome = sim_run(d->sim, job);
        d->n_hung += outcome == SIM_HUNG;
        d->n_died += outcome == SIM_DIED;
        if (outcome != SIM_DONE)
                return;
        d->n_busy += job->result == -EBUSY;
        for (size_t i = 0; i < job->n_devices; i++)
                note_device(d, t, &t->lease->devices[at[i]], &job->devices[i]);
}

bool release_go_on(SimDaemon *d, Tenant *t) {
        for (unsigned i = 0; i < t->n_parts; i++)
                if (is_time(d, t, i))
                        restore_part(d, t, i);
        return release_end(d, t);
}
