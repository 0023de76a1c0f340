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

static void run_close(SimDaemon *d, Tenant *t, Job *job) {
        bool busy = t->busy;

        if (job->n_devices == 0 && job->iommufd < 0)
                return;
        t->busy = true;
        (void) daemon_run(d, job);
        t->busy = busy;
}

static void close_in_job(Tenant *t, size_t i, Job *job) {
        if (t->fds[i] < 0)
                return;
        job->devices[job->n_devices++] = (JobDevice) { .lease = t->lease->devices[i], .fd = t->fds[i] };
        t->fds[i] = -EBADF;
}

/* In a worker, since the last close of a bound device resets it. */
void release_close(SimDaemon *d, Tenant *t, close_wanted_t wanted, size_t part) {
        Job *job = daemon_job(d, JOB_CLOSE, t->lease->hand_over);

        for (size_t i = 0; i < t->lease->n_devices; i++)
                if (t->part[i] == part && wanted(d, t, i))
                        close_in_job(t, i, job);
        run_close(d, t, job);
}

static void close_all(SimDaemon *d, Tenant *t) {
        Job *job = daemon_job(d, JOB_CLOSE, t->lease->hand_over);

        for (size_t i = 0; i < t->lease->n_devices; i++)
                close_in_job(t, i, job);
        job->iommufd = t->iommufd;
        t->iommufd = -EBADF;
        run_close(d, t, job);
}

void release_begin(SimDaemon *d, Tenant *t, const char *reason) {
        ledger_begin_release(&d->ledger, t->lease, reason);
        simrevoke_expect(d, t);
        simpasid_tell(d, t);
        daemon_save(t);
        close_all(d, t);
}

void release_settle(SimDaemon *d, bool restored, const LeaseDevice *ld) {
        SimDevice *sd = sim_device(d->sim, ld->address);
        Home *h = model_home(&d->model, sd);

        if (h->swapped) {
                h->swapped = false;
                model_settle(&d->model, sd);
        } else if (!restored && ld->role == ROLE_LEASED && sd->present) {
                /* It may stay on the VFIO driver: then that is what it is from now on. */
                (void) text_copy(h->driver, NAME_MAX_LEN, ld->driver);
                (void) text_copy(h->override, NAME_MAX_LEN, ld->driver);
        }
}

bool release_end(SimDaemon *d, Tenant *t) {
        const Lease *l = t->lease;

        if (!lease_all_released(l))
                return false;
        model_check_close(&d->model, l);
        for (size_t i = 0; i < l->n_devices; i++)
                release_settle(d, l->restore, &l->devices[i]);
        simpasid_end(d, t);
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

/* Could somebody have it open, as far as is known? When nothing tells of closes, the worker has to find out. */
static bool may_be_open(const SimDaemon *d, const Tenant *t, const LeaseDevice *ld) {
        return ld->opened && !ld->closed && sim_device(d->sim, ld->address)->present && !t->blind &&
               t->lease->hand_over != HAND_OVER_NODE;
}

static bool can_go(const SimDaemon *d, const Tenant *t, const LeaseDevice *ld) {
        return (lease_is_ending(t->lease) || ld->leaving) && !may_be_open(d, t, ld);
}

/* Nothing of the group is handed out any more, and something of it leaves: then it goes back as a whole. */
static bool group_ends(const SimDaemon *d, const Tenant *t, int group) {
        bool leaving = false;

        for (size_t i = 0; i < t->lease->n_devices; i++) {
                const LeaseDevice *ld = &t->lease->devices[i];

                if (ld->group != group || ld->role != ROLE_LEASED)
                        continue;
                if (!can_go(d, t, ld))
                        return false;
                leaving = true;
        }
        return leaving || lease_is_ending(t->lease);
}

static bool goes(const SimDaemon *d, const Tenant *t, const LeaseDevice *ld) {
        if (ld->released)
                return false;
        if (lease_is_ending(t->lease))
                return true;
        return ld->role == ROLE_LEASED ? can_go(d, t, ld) : group_ends(d, t, ld->group);
}

/* At the end of a lease only after the last close in the part; never while a worker sleeps there. */
static bool is_time(SimDaemon *d, const Tenant *t, size_t part) {
        bool work = false;

        for (size_t i = 0; i < t->lease->n_devices; i++) {
                const LeaseDevice *ld = &t->lease->devices[i];

                if (t->part[i] != part)
                        continue;
                if (daemon_is_locked(d, ld))
                        return false;
                if (lease_is_ending(t->lease) && may_be_open(d, t, ld))
                        return false;
                work = work || goes(d, t, ld);
        }
        return work;
}

/* It has left its holder, and its group stays: it can be added again. */
static void note_parked(LeaseDevice *ld) {
        ld->watch = -1;
        ld->role = ROLE_PARKED;
        ld->opened = ld->closed = ld->taken = ld->leaving = ld->asked = ld->released = false;
}

/* Somebody was seen to have it open: what only seemed to leave stays. */
static void note_held(const Tenant *t, LeaseDevice *ld) {
        bool hinted = t->hinted[ld - t->lease->devices];

        if (lease_is_ending(t->lease) || ld->role != ROLE_LEASED || !ld->leaving)
                return;
        ld->closed = hinted || ld->watch < 0;
        ld->leaving = ld->asked || hinted;
}

static void note_device(SimDaemon *d, Tenant *t, LeaseDevice *ld, const JobDevice *j, AddressList *gone) {
        char reason[128] = "";

        if (!j->lease.released)
                return; /* it is tried again */
        if (j->stays && j->error >= 0) {
                note_parked(ld);
                return;
        }
        ledger_device_released(&d->ledger, t->lease, ld);
        if (!lease_is_ending(t->lease))
                (void) address_list_add(gone, ld->address);
        if (j->error >= 0)
                return;
        text_append(reason, sizeof(reason), "failed to %s: %s", step_to_string(j->step), strerror(-j->error));
        ledger_device_broken(&d->ledger, t->lease, ld, reason);
        d->n_broken++;
}

static void note_traces(SimDaemon *d, Job *job) {
        AddressList going = {};

        for (size_t i = 0; i < job->n_devices; i++)
                if (!job->devices[i].stays)
                        (void) address_list_add(&going, job->devices[i].lease.address);
        for (size_t i = 0; i < job->n_devices; i++) {
                const Device *device = inventory_device(&d->ledger.inventory, job->devices[i].lease.address);

                job->devices[i].used = job->devices[i].lease.taken;
                job->devices[i].set_idle = device && resetset_is_idle(&d->ledger.inventory, device, &going);
        }
}

/* Of which devices has the daemon a descriptor that stands in the way? */
static bool is_to_be_closed(const SimDaemon *d, const Tenant *t, size_t i) {
        const LeaseDevice *ld = &t->lease->devices[i];

        return lease_is_ending(t->lease) || ld->leaving || (ld->role != ROLE_LEASED && group_ends(d, t, ld->group));
}

static void restore_part(SimDaemon *d, Tenant *t, size_t part) {
        unsigned at[JOB_DEVICES_MAX];
        AddressList gone = {};
        SimOutcome outcome;
        Job *job;

        release_close(d, t, is_to_be_closed, part);
        if (!is_time(d, t, part))
                return;
        job = daemon_job(d, JOB_RESTORE, t->lease->hand_over);
        job->restore = t->lease->restore;
        simset_anchor(t, job);
        for (unsigned i = 0; i < t->lease->n_devices; i++) {
                const LeaseDevice *ld = &t->lease->devices[i];

                if (t->part[i] != part || !goes(d, t, ld))
                        continue;
                t->hinted[i] = false;
                at[job->n_devices] = i;
                job->devices[job->n_devices++] = (JobDevice) {
                        .lease = *ld,
                        .fd = -EBADF,
                        .stays = !lease_is_ending(t->lease) && !group_ends(d, t, ld->group),
                };
        }
        note_traces(d, job);
        t->busy = true;
        outcome = daemon_run(d, job);
        t->busy = false;
        if (outcome != SIM_DONE)
                return;
        simset_check_parked(d, job);
        d->n_busy += job->result == -EBUSY;
        for (size_t i = 0; i < job->n_devices; i++)
                if (job->result == -EBUSY)
                        note_held(t, &t->lease->devices[at[i]]);
                else {
                        t->fds[at[i]] = job->devices[i].fd; /* of one that is parked, for the reset set */
                        note_device(d, t, &t->lease->devices[at[i]], &job->devices[i], &gone);
                }
        for (size_t i = 0; i < gone.n; i++) {
                release_settle(d, t->lease->restore, lease_device(t->lease, gone.items[i]));
                join_drop(d, t, gone.items[i]);
        }
        ledger_update(&d->ledger, t->lease);
        daemon_save(t);
}

bool release_go_on(SimDaemon *d, Tenant *t) {
        for (size_t i = 0; i < t->n_parts; i++)
                if (is_time(d, t, i))
                        restore_part(d, t, i);
        return lease_is_ending(t->lease) && release_end(d, t);
}
