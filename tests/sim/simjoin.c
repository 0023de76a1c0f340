/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simdaemon.h"

/* Devices join a lease that goes on, and leave it. */

void join_drop(SimDaemon *d, Tenant *t, Address a) {
        LeaseDevice *ld = lease_device(t->lease, a);
        size_t i = (size_t) (ld - t->lease->devices), last = t->lease->n_devices - 1;

        if (t->fds[i] >= 0)
                (void) sim_close(d->sim, t->fds[i]);
        /* As the ledger does it: the last one takes its place. */
        t->fds[i] = t->fds[last];
        t->hinted[i] = t->hinted[last];
        t->fds[last] = -EBADF;
        t->hinted[last] = false;
        ledger_leave(&d->ledger, t->lease, a);
        daemon_divide(t);
        simpasid_tell(d, t);
        d->n_left++;
        if (sim_device(d->sim, a)->present && inventory_device(&d->ledger.inventory, a))
                daemon_refresh(d, sim_device(d->sim, a));
}

void join_expel_all(Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                LeaseDevice *ld = &l->devices[i];

                if (!ld->joining)
                        continue;
                ld->joining = false;
                ld->role = ROLE_LEASED;
                ld->leaving = ld->closed = true;
        }
}

typedef struct Joining {
        AddressList devices;
        AddressList stays; /* the lease has owned their groups before */
        AddressList fresh; /* the lease did not have them before */
} Joining;

static void note_owned(const SimDaemon *d, const Tenant *t, const Plan *plan, Joining *ret) {
        *ret = (Joining) {};
        for (size_t i = 0; i < plan->n_devices; i++) {
                const LeaseDevice *ld = &plan->devices[i];
                const Group *g = inventory_group(&d->ledger.inventory, ld->group);

                (void) address_list_add(&ret->devices, ld->address);
                if (g && g->lease == t->lease)
                        (void) address_list_add(&ret->stays, ld->address);
                if (!lease_device(t->lease, ld->address))
                        (void) address_list_add(&ret->fresh, ld->address);
        }
}

/* What failed to join is out again, or parked if its group is the lease's, or on its way out. */
static void expel(SimDaemon *d, Tenant *t, const Joining *j) {
        for (size_t i = 0; i < j->devices.n; i++) {
                Address a = j->devices.items[i];
                LeaseDevice *ld = lease_device(t->lease, a);

                ld->joining = false;
                if (ld->released && (!address_list_has(&j->stays, a) || address_list_has(&j->fresh, a))) {
                        release_settle(d, true, ld);
                        join_drop(d, t, a);
                } else if (ld->released) {
                        ld->released = ld->opened = ld->closed = ld->taken = false;
                        ld->role = ROLE_PARKED;
                } else
                        ld->leaving = ld->closed = true;
        }
}

static bool is_of_part(const Tenant *t, size_t part) {
        for (size_t i = 0; i < t->lease->n_devices; i++)
                if (t->part[i] == part && t->lease->devices[i].joining)
                        return true;
        return false;
}

/* Those that no worker has begun with. */
static void give_up_part(Tenant *t, size_t part) {
        for (size_t i = 0; i < t->lease->n_devices; i++)
                if (t->part[i] == part && t->lease->devices[i].joining)
                        t->lease->devices[i].released = true;
}

/* What was touched is parked now, and cannot simply be forgotten. */
static void note_touched(const Job *job, Joining *j) {
        for (size_t i = 0; i < job->n_devices && job->result < 0; i++)
                if (!job->devices[i].untouched)
                        address_list_remove(&j->fresh, job->devices[i].lease.address);
}

/* A parked device that is kept bound could not be bound by its new holder. */
static bool is_joining(const SimDaemon *d _unused_, const Tenant *t, size_t i) {
        return t->lease->devices[i].joining;
}

static bool prepare(SimDaemon *d, Tenant *t, Joining *j) {
        bool ready = true;

        for (size_t part = 0; part < t->n_parts; part++) {
                if (!is_of_part(t, part))
                        continue;
                if (!ready) {
                        give_up_part(t, part);
                        continue;
                }
                release_close(d, t, is_joining, part);
                ready = daemon_prepare_part(d, t, part, &j->stays, &j->fresh) == SIM_DONE &&
                        d->jobs[d->depth].result >= 0;
                note_touched(&d->jobs[d->depth], j);
        }
        return ready;
}

static void finish(SimDaemon *d, Tenant *t, const Joining *j, bool ready) {
        if (!ready)
                expel(d, t, j);
        for (size_t i = 0; i < t->lease->n_devices && ready; i++)
                if (t->lease->devices[i].joining)
                        ledger_joined(t->lease, &t->lease->devices[i]);
        ledger_update(&d->ledger, t->lease);
        simpasid_tell(d, t);
        daemon_save(t);
        for (size_t i = 0; i < j->devices.n && ready; i++) {
                const LeaseDevice *ld = lease_device(t->lease, j->devices.items[i]);

                if (ld->role == ROLE_LEASED)
                        world_hand_out(d, t, (size_t) (ld - t->lease->devices));
        }
}

static void join(SimDaemon *d, Tenant *t, const Plan *plan, bool force_in_use) {
        Joining j;
        bool ready;

        simvirtual_give_tokens(d, plan->devices, plan->n_devices);
        note_owned(d, t, plan, &j);
        if (ledger_join(&d->ledger, t->lease, plan->devices, plan->n_devices) < 0) {
                model_found(&d->model, FLAW_REFUSED, NULL, "examine() lets devices join whom the ledger refuses");
                return;
        }
        t->stale = d->stale;
        t->force_in_use = force_in_use;
        daemon_divide(t);
        daemon_save(t);
        t->busy = true;
        ready = prepare(d, t, &j);
        t->busy = false;
        d->n_joined += ready ? plan->n_devices : 0;
        /* The daemon may die with its worker. */
        if (!ready && d->depth == 0 && d->sim->rate > 0 && daemon_below(d, 20) == 0)
                daemon_restart(d);
        else
                finish(d, t, &j, ready);
}

void join_some(SimDaemon *d, Tenant *t) {
        const Lease *l = t->lease;
        const Caller root = {}, caller = { .uid = l->uid,
                                           .unit = "",
                                           .cgroup = l->cgroup,
                                           .charged = l->charged,
                                           .memlock = UINT64_MAX,
                                           .asker = &root };
        unsigned at = daemon_below(d, (unsigned) d->sim->n_devices);
        Plan plan = {};
        Request request;

        /* Without the iommufd, which went with an earlier daemon, nothing can be attached; and what is not handed out yet nobody knows. */
        if (!t->handed || hand_over_is_legacy(l->hand_over) || (l->hand_over == HAND_OVER_ATTACHED && t->iommufd < 0))
                return;
        if (l->n_devices > 0 && daemon_below(d, 2))
                at = (unsigned) (sim_device(d->sim, l->devices[daemon_below(d, (unsigned) l->n_devices)].address) -
                                 d->sim->devices);
        daemon_build_request(d, at, l->hand_over, &request);
        request.joins = l;
        request.pasids = 0;
        request.restore = l->restore;
        request.reset_set = l->reset_set;
        if (request.devices.n > 0 && daemon_examine(d, &caller, &request, &plan) &&
            l->n_devices + plan.n_devices <= TENANT_DEVICES)
                join(d, t, &plan, request.force_in_use);
        plan_clear(&plan);
}

void join_leave_some(SimDaemon *d, Tenant *t) {
        size_t i = t->lease->n_devices > 0 ? daemon_below(d, (unsigned) t->lease->n_devices) : 0;

        if (i >= t->lease->n_devices || t->lease->devices[i].role != ROLE_LEASED ||
            hand_over_is_legacy(t->lease->hand_over))
                return;
        t->lease->devices[i].leaving = t->lease->devices[i].asked = true;
        ledger_update(&d->ledger, t->lease);
        daemon_save(t);
        if (t->fds[i] >= 0)
                (void) sim_close(d->sim, t->fds[i]);
        t->fds[i] = -EBADF;
}
