/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "core/partition.h"
#include "sim/simdaemon.h"
#include "util/text.h"

unsigned daemon_below(SimDaemon *d, unsigned n) {
        return sim_below(&d->random, n);
}

Tenant *daemon_tenant(const SimDaemon *d, const Lease *l) {
        for (size_t i = 0; l && i < d->n_tenants; i++)
                if (d->tenants[i]->lease == l)
                        return d->tenants[i];
        return NULL;
}

static void *must(void *p) {
        if (!p)
                abort();
        return p;
}

static Lease *copy_lease(const Lease *l) {
        Lease *copy = must(malloc(sizeof(*copy)));

        *copy = *l;
        copy->unit = must(strdup(l->unit));
        copy->cgroup = must(strdup(l->cgroup));
        copy->charged = must(strdup(l->charged));
        copy->devices = must(malloc((l->n_devices + 1) * sizeof(*copy->devices)));
        memcpy(copy->devices, l->devices, l->n_devices * sizeof(*copy->devices));
        return copy;
}

void daemon_save(Tenant *t) {
        lease_free(t->saved);
        t->saved = copy_lease(t->lease);
}

void daemon_refresh(SimDaemon *d, SimDevice *sd) {
        Kernel *k = &d->sim->kernel;
        DeviceFacts facts;
        GroupFacts group;
        Device *x;
        Group *g;

        if (k->ops->read_device(k, sd->facts.address, &facts) < 0 || k->ops->read_group(k, facts.group, &group) < 0)
                return;
        if (inventory_put_group(&d->ledger.inventory, &group, &g) < 0 ||
            inventory_put_device(&d->ledger.inventory, &facts, &x) < 0)
                abort();
}

/* A device that comes back while a lease is still on it belongs to that lease, as the ledger knows by itself. */
static void adopt(SimDaemon *d, SimDevice *sd) {
        Device *x = inventory_device(&d->ledger.inventory, sd->facts.address);

        for (size_t i = 0; i < d->n_tenants; i++) {
                Lease *l = d->tenants[i]->lease;
                LeaseDevice *ld = lease_device(l, sd->facts.address);

                if (!ld)
                        continue;
                ld->closed = true;
                if (ld->released) {
                        /* It is another device now, and not the lease's business, also after a restart. */
                        lease_device(d->tenants[i]->saved, sd->facts.address)->released = true;
                        model_settle(&d->model, sd);
                }
                model_home(&d->model, sd)->swapped = true;
                d->model.disturbed[sd->group] = true;
                if (x->lease != l)
                        model_found(&d->model, FLAW_LEDGER, sd, "it came back and is not its lease's any more");
                return;
        }
        if (inventory_group_of(&d->ledger.inventory, x)->lease)
                d->model.disturbed[sd->group] = true;
        x->state = DEVICE_FREE;
        model_settle(&d->model, sd);
}

void daemon_sync_hotplug(SimDaemon *d) {
        if (d->seen_hotplugs == d->sim->n_hotplugs)
                return;
        d->seen_hotplugs = d->sim->n_hotplugs;
        for (size_t i = 0; i < d->sim->n_devices; i++) {
                SimDevice *sd = &d->sim->devices[i];
                const Device *x = inventory_device(&d->ledger.inventory, sd->facts.address);
                bool pulled = d->seen_pulled[i] != sd->n_pulled, is_new = pulled || !x || x->gone;

                d->seen_pulled[i] = sd->n_pulled;
                /* It may be back already. */
                if (x && pulled)
                        (void) inventory_remove_device(&d->ledger.inventory, sd->facts.address);
                if (sd->present && is_new) {
                        daemon_refresh(d, sd);
                        adopt(d, sd);
                }
        }
}

/* --- starting --- */

/* To close the descriptor is to leave. */
static void note_closed(Tenant *t, LeaseDevice *ld) {
        const Lease *l = t->lease;

        t->hinted[ld - l->devices] = true;
        if (l->state == LEASE_ACTIVE && ld->taken && !hand_over_is_legacy(l->hand_over))
                ld->leaving = true;
}

static void on_close(void *userdata, Address a, int watch) {
        SimDaemon *d = userdata;
        Device *x = inventory_device(&d->ledger.inventory, a);
        LeaseDevice *ld = x && x->lease ? lease_device(x->lease, a) : NULL;

        if (!ld || ld->watch != watch)
                return;
        ld->closed = true;
        note_closed(daemon_tenant(d, x->lease), ld);
}

/* The kernel itself has bound a driver, because a module came: whatever was driverless before may have one now. */
static void on_probed(void *userdata, SimDevice *sd) {
        SimDaemon *d = userdata;
        const Device *x = inventory_device(&d->ledger.inventory, sd->facts.address);

        if (!x || !x->lease || lease_device(x->lease, sd->facts.address)->released)
                model_settle(&d->model, sd);
        else if (isempty(model_home(&d->model, sd)->driver) && sim_driver_kind(d->sim, sd) != DRIVER_VFIO)
                (void) text_copy(model_home(&d->model, sd)->driver, NAME_MAX_LEN, sim_driver_name(d->sim, sd));
}

void daemon_init(SimDaemon *d, Sim *s) {
        d->sim = s;
        d->next_pid = SIM_PID_CLIENT;
        d->config.limits = (Limits) { 100000, 100000, 100000, 100000, 64 };
        if (variant_table_add(&d->variants, "vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci", "vfio-pci") < 0 ||
            variant_table_add(&d->variants, "vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*", "mlx5_vfio_pci",
                              "mlx5_vfio_pci") < 0)
                abort();
        simquota_init(d);
        simrevoke_init(d);
        d->seen_pulled = must(calloc(s->n_devices, sizeof(*d->seen_pulled)));
        d->stuck_at = must(calloc(s->n_devices, sizeof(*d->stuck_at)));
        s->on_close = on_close;
        s->on_probed = on_probed;
        s->meanwhile = world_meanwhile;
        s->userdata = d;
        for (size_t i = 0; i < s->n_devices; i++)
                daemon_refresh(d, &s->devices[i]);
        (void) s->kernel.ops->read_platform(&s->kernel, &d->ledger.inventory.platform);
        model_init(&d->model, s, &d->ledger);
        simlook_setup(d);
        simpasid_start(d);
}

static void free_tenant(Tenant *t) {
        lease_free(t->saved);
        free(t);
}

void daemon_clear(SimDaemon *d) {
        for (size_t i = 0; i < d->n_tenants; i++)
                free_tenant(d->tenants[i]);
        free(d->tenants);
        free(d->seen_pulled);
        free(d->stuck_at);
        ledger_clear(&d->ledger);
        model_clear(&d->model);
        variant_table_clear(&d->variants);
}

static bool is_given_up(const Device *x) {
        return !x->lease || lease_device(x->lease, x->facts.address)->released;
}

/* The daemon is killed and starts again: what it knew is gone, except what it wrote down. */
void daemon_restart(SimDaemon *d) {
        Inventory *inv = &d->ledger.inventory;
        bool store = daemon_below(d, 2); /* systemd kept its descriptors */

        d->n_restarts++;
        simlook_setup(d);
        for (size_t i = 0; i < d->n_tenants; i++)
                if (!store || d->tenants[i]->saved->state != LEASE_ACTIVE)
                        release_close_fds(d, d->tenants[i]);
        for (size_t i = 0; i < inv->n_devices; i++) {
                SimDevice *sd = sim_device(d->sim, inv->devices[i]->facts.address);

                /* That it is broken was written nowhere. It is free now, as it is. */
                if (inv->devices[i]->state == DEVICE_BROKEN && is_given_up(inv->devices[i])) {
                        model_settle(&d->model, sd);
                        model_home(&d->model, sd)->swapped = inv->devices[i]->lease; /* until that ends */
                        sd->dirty = false;
                }
        }
        ledger_clear(&d->ledger);
        simquota_restore(d);
        for (size_t i = 0; i < d->sim->n_devices; i++)
                daemon_refresh(d, &d->sim->devices[i]);
        (void) d->sim->kernel.ops->read_platform(&d->sim->kernel, &inv->platform);
        for (size_t i = 0; i < d->n_tenants; i++) {
                Tenant *t = d->tenants[i];

                t->lease = copy_lease(t->saved);
                join_expel_all(t->lease);
                t->blind = true;
                if (ledger_open(&d->ledger, t->lease) < 0)
                        model_found(&d->model, FLAW_REFUSED, NULL, "a saved lease has no place after a restart");
                simrevoke_resume(d, t);
                if (t->lease->state == LEASE_PREPARING) {
                        t->lease->restore = true;
                        release_begin(d, t, "the daemon ended during the preparation");
                }
        }
        simpasid_start(d);
}

/* --- preparing --- */

static Lease *lease_of_plan(SimDaemon *d, const Caller *caller, const Request *q, Plan *plan) {
        Lease *l = must(calloc(1, sizeof(*l)));

        (void) snprintf(l->id, sizeof(l->id), "%032x", ++d->serial);
        l->uid = caller->uid;
        l->unit = must(strdup(""));
        l->cgroup = must(strdup(caller->cgroup));
        l->charged = must(strdup(caller->charged));
        l->pasids = q->pasids;
        l->hand_over = q->hand_over;
        l->restore = q->restore;
        (void) text_copy(l->reservation, sizeof(l->reservation), simrevoke_reservation(d));
        l->reset_set = q->reset_set;
        l->devices = TAKE_PTR(plan->devices);
        l->n_devices = plan->n_devices;
        plan->n_devices = 0;
        return l;
}

void daemon_divide(Tenant *t) {
        t->n_parts = partition_devices(t->lease->devices, t->lease->n_devices, t->part);
}

static SimOutcome open_iommufd(SimDaemon *d, Tenant *t) {
        Job *job = daemon_job(d, JOB_IOMMUFD, t->lease->hand_over);
        SimOutcome outcome = daemon_run(d, job);

        t->iommufd = job->iommufd;
        t->ioas = job->ioas;
        return outcome;
}

static void note_isolation(SimDaemon *d, const Job *job) {
        const JobDevice *j = &job->devices[job->failed];
        Group *g = inventory_group(&d->ledger.inventory, j->lease.group);

        if (g && j->step == STEP_CLAIM && j->error == -EPERM &&
            d->sim->groups[sim_device(d->sim, j->lease.address)->group].no_isolation)
                g->no_isolation = true;
}

/* No worker could be started. */
static void give_up_part(SimDaemon *d, Tenant *t, Job *job, bool joins) {
        job->result = -EWOULDBLOCK;
        for (size_t i = 0; i < job->n_devices; i++) {
                LeaseDevice *ld = lease_device(t->lease, job->devices[i].lease.address);

                job->devices[i].untouched = ld->released = true;
                if (!joins)
                        ledger_device_released(&d->ledger, t->lease, ld);
        }
}

SimOutcome daemon_prepare_part(SimDaemon *d, Tenant *t, size_t part, const AddressList *stays,
                               const AddressList *fresh) {
        Job *job = daemon_job(d, JOB_PREPARE, t->lease->hand_over);
        unsigned at[JOB_DEVICES_MAX];
        SimOutcome outcome;

        job->iommufd = t->iommufd;
        job->ioas = t->ioas;
        job->has_pasids = t->lease->pasids > 0;
        job->restore = t->lease->restore;
        job->force_in_use = t->force_in_use;
        simset_anchor(t, job);
        for (unsigned i = 0; i < t->lease->n_devices; i++) {
                const LeaseDevice *ld = &t->lease->devices[i];

                if (t->part[i] != part || (stays && !ld->joining))
                        continue;
                at[job->n_devices] = i;
                job->devices[job->n_devices++] = (JobDevice) { .lease = *ld,
                                                               .fd = -EBADF,
                                                               .stays = stays && address_list_has(stays, ld->address),
                                                               .fresh = fresh && address_list_has(fresh, ld->address) };
        }
        if (daemon_is_any_locked(d, job)) {
                give_up_part(d, t, job, stays);
                return SIM_DONE;
        }
        outcome = daemon_run(d, job);
        /* A plan made of old facts is found out by the worker, but not by whoever rolls back after its death. */
        for (size_t i = 0; i < job->n_devices && outcome != SIM_DONE && t->stale; i++)
                model_home(&d->model, sim_device(d->sim, job->devices[i].lease.address))->swapped = true;
        if (outcome != SIM_DONE)
                return outcome;
        model_check_prepared(&d->model, job);
        for (size_t i = 0; i < job->n_devices; i++) {
                LeaseDevice *ld = &t->lease->devices[at[i]];

                /* Without a descriptor there will be no close, whatever "opened" says; nor after it was pulled meanwhile. */
                job->devices[i].lease.closed = ld->closed || job->result < 0;
                *ld = job->devices[i].lease;
                t->fds[at[i]] = job->devices[i].fd;
                if (job->result < 0 && ld->released && !stays)
                        ledger_device_released(&d->ledger, t->lease, ld);
        }
        if (job->result < 0)
                note_isolation(d, job);
        return outcome;
}

/* Parts whose worker was never started have nothing to give back. */
static void spare_parts_from(SimDaemon *d, Tenant *t, size_t part) {
        for (size_t i = 0; i < t->lease->n_devices; i++)
                if (t->part[i] >= part)
                        ledger_device_released(&d->ledger, t->lease, &t->lease->devices[i]);
}

/* Returns true if all parts are ready. *ret_crashed: the daemon died with its worker. */
static bool prepare(SimDaemon *d, Tenant *t, bool *ret_crashed) {
        bool ready = true;

        for (size_t i = 0; i <= t->n_parts && ready; i++) {
                SimOutcome outcome;

                if (i == 0 && (t->lease->hand_over == HAND_OVER_NONE || t->lease->hand_over == HAND_OVER_NODE))
                        continue;
                outcome = i == 0 ? open_iommufd(d, t) : daemon_prepare_part(d, t, i - 1, NULL, NULL);
                ready = outcome == SIM_DONE && d->jobs[d->depth].result >= 0;
                if (d->sim->rate > 0 && d->depth == 0 && daemon_below(d, outcome == SIM_DIED ? 2 : 200) == 0) {
                        *ret_crashed = true;
                        return false;
                }
                if (!ready)
                        spare_parts_from(d, t, i);
        }
        return ready;
}

static Tenant *add_tenant(SimDaemon *d, Lease *l, bool force_in_use) {
        Tenant **grown = must(reallocarray(d->tenants, d->n_tenants + 1, sizeof(*grown))), *t;

        t = must(calloc(1, sizeof(*t)));
        d->tenants = grown;
        grown[d->n_tenants++] = t;
        t->lease = l;
        t->stale = d->stale;
        t->n_hotplugs = d->sim->n_hotplugs;
        t->force_in_use = force_in_use;
        t->serial = d->serial;
        t->client = simrevoke_process(d, l->uid, l->cgroup);
        l->pid = t->client;
        l->process = daemon_below(d, 8) == 0 ? 0 : d->next_process; /* 0: before Linux 6.9 */
        t->iommufd = -EBADF;
        for (size_t i = 0; i < TENANT_DEVICES; i++)
                t->fds[i] = -EBADF;
        daemon_divide(t);
        return t;
}

static void take_over(SimDaemon *d, Lease *l, bool force_in_use) {
        Tenant *t;
        bool crashed = false, ready;

        simvirtual_give_tokens(d, l->devices, l->n_devices);
        if (ledger_open(&d->ledger, l) < 0) {
                model_found(&d->model, FLAW_REFUSED, NULL, "examine() allowed what the ledger refuses");
                lease_free(l);
                return;
        }
        t = add_tenant(d, l, force_in_use);
        daemon_save(t);
        d->n_leases++;
        t->busy = true;
        ready = prepare(d, t, &crashed);
        t->busy = false;
        if (crashed)
                daemon_restart(d);
        else if (ready) {
                ledger_activate(&d->ledger, t->lease);
                simset_check(d, t);
                simpasid_tell(d, t);
                daemon_save(t);
        } else {
                d->n_failed++;
                t->lease->restore = true; /* nothing was lent */
                release_begin(d, t, "the preparation failed");
                (void) release_end(d, t);
        }
}

bool daemon_acquire(SimDaemon *d) {
        const char *cgroup = simquota_cgroup(d);
        const Caller root = {}, caller = { .uid = 1000 + daemon_below(d, 4),
                                           .unit = "",
                                           .cgroup = cgroup,
                                           .charged = cgroup,
                                           .memlock = UINT64_MAX,
                                           .asker = &root };
        Plan plan = {};
        Request request;
        bool allowed;

        daemon_build_request(d, daemon_below(d, (unsigned) d->sim->n_devices), daemon_below(d, _HAND_OVER_MAX),
                             &request);
        if (request.devices.n == 0)
                return false;
        allowed = daemon_examine(d, &caller, &request, &plan) && plan.n_devices <= TENANT_DEVICES;
        if (allowed)
                take_over(d, lease_of_plan(d, &caller, &request, &plan), request.force_in_use);
        else
                d->n_refused++;
        plan_clear(&plan);
        return allowed;
}
