/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

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
                Device *x = inventory_device(&d->ledger.inventory, sd->facts.address);

                if (!sd->present && x)
                        (void) inventory_remove_device(&d->ledger.inventory, sd->facts.address);
                if (sd->present && (!x || x->gone)) {
                        daemon_refresh(d, sd);
                        adopt(d, sd);
                }
        }
}

/* --- starting --- */

static void on_close(void *userdata, Address a, int watch) {
        SimDaemon *d = userdata;
        Device *x = inventory_device(&d->ledger.inventory, a);
        LeaseDevice *ld = x && x->lease ? lease_device(x->lease, a) : NULL;

        if (ld && ld->watch == watch)
                ld->closed = true;
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

void daemon_init(SimDaemon *d, Sim *s, uint64_t seed) {
        d->sim = s;
        d->random = seed ^ UINT64_C(0x5851f42d4c957f2d);
        d->next_pid = SIM_PID_CLIENT;
        d->config.limits = (Limits) { 100000, 100000, 100000, 100000, 64 };
        if (variant_table_add(&d->variants, "vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci", "vfio-pci") < 0 ||
            variant_table_add(&d->variants, "vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*", "mlx5_vfio_pci",
                              "mlx5_vfio_pci") < 0)
                abort();
        s->on_close = on_close;
        s->on_probed = on_probed;
        s->meanwhile = world_meanwhile;
        s->userdata = d;
        for (size_t i = 0; i < s->n_devices; i++)
                daemon_refresh(d, &s->devices[i]);
        (void) s->kernel.ops->read_platform(&s->kernel, &d->ledger.inventory.platform);
        model_init(&d->model, s, &d->ledger);
}

static void free_tenant(Tenant *t) {
        lease_free(t->saved);
        free(t);
}

void daemon_clear(SimDaemon *d) {
        for (size_t i = 0; i < d->n_tenants; i++)
                free_tenant(d->tenants[i]);
        free(d->tenants);
        ledger_clear(&d->ledger);
        model_clear(&d->model);
        variant_table_clear(&d->variants);
}

/* The daemon is killed and starts again: what it knew is gone, except what it wrote down. */
void daemon_restart(SimDaemon *d) {
        Inventory *inv = &d->ledger.inventory;
        bool store = daemon_below(d, 2); /* systemd kept its descriptors */

        d->n_restarts++;
        for (size_t i = 0; i < d->n_tenants; i++)
                if (!store || d->tenants[i]->saved->state != LEASE_ACTIVE)
                        release_close_fds(d, d->tenants[i]);
        for (size_t i = 0; i < inv->n_devices; i++) {
                SimDevice *sd = sim_device(d->sim, inv->devices[i]->facts.address);

                /* That it is broken was written nowhere. It is free now, as it is. */
                if (inv->devices[i]->state == DEVICE_BROKEN && !inv->devices[i]->lease) {
                        model_settle(&d->model, sd);
                        sd->dirty = false;
                }
        }
        ledger_clear(&d->ledger);
        for (size_t i = 0; i < d->sim->n_devices; i++)
                daemon_refresh(d, &d->sim->devices[i]);
        (void) d->sim->kernel.ops->read_platform(&d->sim->kernel, &inv->platform);
        for (size_t i = 0; i < d->n_tenants; i++) {
                Tenant *t = d->tenants[i];

                t->lease = copy_lease(t->saved);
                t->blind = true;
                if (ledger_open(&d->ledger, t->lease) < 0)
                        model_found(&d->model, FLAW_REFUSED, NULL, "a saved lease has no place after a restart");
                if (t->lease->state == LEASE_PREPARING) {
                        t->lease->restore = true;
                        release_begin(d, t, "the daemon ended during the preparation");
                }
        }
}

/* --- requests --- */

static void build_request(SimDaemon *d, Request *q) {
        Sim *s = d->sim;
        unsigned n = 1 + (daemon_below(d, 3) == 0 ? daemon_below(d, 4) : 0);
        unsigned at = daemon_below(d, (unsigned) s->n_devices);
        bool name_all = daemon_below(d, 8) != 0;

        *q = (Request) {
                .hand_over = daemon_below(d, _HAND_OVER_MAX),
                .restore = daemon_below(d, 8) != 0,
                .pasids = daemon_below(d, 6) == 0 ? 8 : 0,
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
                if (member && sd->present && !facts_is_bridge(&sd->facts) && sim_driver_kind(s, sd) == DRIVER_HOST &&
                    !address_list_has(&q->devices, sd->facts.address))
                        (void) address_list_add(&q->members, sd->facts.address);
        }
}

static void refresh_scope(SimDaemon *d, const Request *q) {
        AddressList scope;

        if (examine_scope(&d->ledger.inventory, q, &scope) < 0)
                return;
        for (size_t i = 0; i < scope.n; i++) {
                SimDevice *sd = sim_device(d->sim, scope.items[i]);
                const Device *x = inventory_device(&d->ledger.inventory, scope.items[i]);

                if (x && !x->gone && sd->present)
                        daemon_refresh(d, sd);
        }
}

static Lease *lease_of_plan(SimDaemon *d, const Request *q, Plan *plan) {
        Lease *l = must(calloc(1, sizeof(*l)));

        (void) snprintf(l->id, sizeof(l->id), "%032x", ++d->serial);
        l->uid = 1000 + d->serial % 4;
        l->unit = must(strdup(""));
        l->cgroup = must(strdup("/"));
        l->hand_over = q->hand_over;
        l->restore = q->restore;
        l->devices = TAKE_PTR(plan->devices);
        l->n_devices = plan->n_devices;
        plan->n_devices = 0;
        return l;
}

/* Parts that have neither a group nor a reset set in common can be worked on apart. */
static void divide(Tenant *t) {
        const Lease *l = t->lease;
        unsigned number[TENANT_DEVICES];

        for (unsigned i = 0; i < l->n_devices; i++)
                t->part[i] = i;
        for (size_t i = 0; i < l->n_devices; i++)
                for (size_t j = 0; j < i; j++) {
                        unsigned from = t->part[i], to = t->part[j];

                        if (l->devices[i].group != l->devices[j].group &&
                            !address_equal(l->devices[i].set, l->devices[j].set))
                                continue;
                        for (size_t k = 0; k <= i; k++)
                                if (t->part[k] == from)
                                        t->part[k] = to;
                }
        t->n_parts = 0;
        for (unsigned i = 0; i < l->n_devices; i++)
                number[i] = t->part[i] == i ? t->n_parts++ : number[t->part[i]];
        memcpy(t->part, number, sizeof(unsigned) * l->n_devices);
}

/* --- preparing --- */

static SimOutcome open_iommufd(SimDaemon *d, Tenant *t, uint32_t *ret_ioas) {
        SimOutcome outcome;

        d->job = (Job) { .kind = JOB_IOMMUFD, .hand_over = t->lease->hand_over, .iommufd = -EBADF };
        outcome = sim_run(d->sim, &d->job);
        t->iommufd = d->job.iommufd;
        *ret_ioas = d->job.ioas;
        return outcome;
}

static void note_isolation(SimDaemon *d, const Job *job) {
        const JobDevice *j = &job->devices[job->failed];
        Group *g = inventory_group(&d->ledger.inventory, j->lease.group);

        if (g && j->step == STEP_CLAIM && j->error == -EPERM &&
            d->sim->groups[sim_device(d->sim, j->lease.address)->group].no_isolation)
                g->no_isolation = true;
}

static SimOutcome prepare_part(SimDaemon *d, Tenant *t, unsigned part, uint32_t ioas) {
        Job *job = &d->job;
        unsigned at[JOB_DEVICES_MAX];
        SimOutcome outcome;

        *job = (Job) { .kind = JOB_PREPARE, .hand_over = t->lease->hand_over, .iommufd = t->iommufd, .ioas = ioas };
        job->restore = t->lease->restore;
        for (unsigned i = 0; i < t->lease->n_devices; i++) {
                if (t->part[i] != part)
                        continue;
                at[job->n_devices] = i;
                job->devices[job->n_devices++] = (JobDevice) { .lease = t->lease->devices[i], .fd = -EBADF };
        }
        outcome = sim_run(d->sim, job);
        if (outcome != SIM_DONE)
                return outcome;
        model_check_prepared(&d->model, job);
        for (size_t i = 0; i < job->n_devices; i++) {
                LeaseDevice *ld = &t->lease->devices[at[i]];

                *ld = job->devices[i].lease;
                t->fds[at[i]] = job->devices[i].fd;
                ld->closed = job->result < 0; /* there is no descriptor, whatever "opened" says */
                if (job->result < 0 && ld->released)
                        ledger_device_released(&d->ledger, t->lease, ld);
        }
        if (job->result < 0)
                note_isolation(d, job);
        return outcome;
}

/* Parts whose worker was never started have nothing to give back. */
static void spare_parts_from(SimDaemon *d, Tenant *t, unsigned part) {
        for (size_t i = 0; i < t->lease->n_devices; i++)
                if (t->part[i] >= part)
                        ledger_device_released(&d->ledger, t->lease, &t->lease->devices[i]);
}

/* Returns true if all parts are ready. *ret_crashed: the daemon died with its worker. */
static bool prepare(SimDaemon *d, Tenant *t, bool *ret_crashed) {
        bool ready = true;
        uint32_t ioas = 0;

        for (unsigned i = 0; i <= t->n_parts && ready; i++) {
                SimOutcome outcome;

                if (i == 0 && t->lease->hand_over == HAND_OVER_NONE)
                        continue;
                outcome = i == 0 ? open_iommufd(d, t, &ioas) : prepare_part(d, t, i - 1, ioas);
                d->n_hung += outcome == SIM_HUNG;
                d->n_died += outcome == SIM_DIED;
                ready = outcome == SIM_DONE && d->job.result >= 0;
                if (d->sim->rate > 0 && daemon_below(d, outcome == SIM_DIED ? 2 : 200) == 0) {
                        *ret_crashed = true;
                        return false;
                }
                if (!ready)
                        spare_parts_from(d, t, i);
        }
        return ready;
}

static Tenant *add_tenant(SimDaemon *d, Lease *l) {
        Tenant **grown = must(reallocarray(d->tenants, d->n_tenants + 1, sizeof(*grown))), *t;

        t = must(calloc(1, sizeof(*t)));
        d->tenants = grown;
        grown[d->n_tenants++] = t;
        t->lease = l;
        t->serial = d->serial;
        t->client = d->next_pid++;
        t->iommufd = -EBADF;
        for (size_t i = 0; i < TENANT_DEVICES; i++)
                t->fds[i] = -EBADF;
        divide(t);
        return t;
}

static void take_over(SimDaemon *d, Lease *l) {
        Tenant *t;
        bool crashed = false, ready;

        if (ledger_open(&d->ledger, l) < 0) {
                model_found(&d->model, FLAW_REFUSED, NULL, "examine() allowed what the ledger refuses");
                lease_free(l);
                return;
        }
        t = add_tenant(d, l);
        daemon_save(t);
        d->n_leases++;
        ready = prepare(d, t, &crashed);
        if (crashed)
                daemon_restart(d);
        else if (ready) {
                ledger_activate(&d->ledger, t->lease);
                daemon_save(t);
        } else {
                d->n_failed++;
                t->lease->restore = true; /* nothing was lent */
                release_begin(d, t, "the preparation failed");
                (void) release_end(d, t);
        }
}

bool daemon_acquire(SimDaemon *d) {
        const World world = { &d->ledger.inventory, &d->config, &d->variants };
        const Caller caller = { .unit = "", .cgroup = "/", .memlock = UINT64_MAX };
        const Usage usage = ledger_usage(&d->ledger, 0);
        Findings findings = {};
        Plan plan = {};
        Request request;
        bool allowed;

        build_request(d, &request);
        if (request.devices.n == 0)
                return false;
        /* A plan made of old facts is found out by the worker, but not by whoever rolls back after a death. */
        if (d->sim->rate > 0 || daemon_below(d, 20) != 0)
                refresh_scope(d, &request);
        if (examine(&world, &caller, &usage, &request, &plan, &findings) < 0)
                abort();
        allowed = !findings_first_block(&findings) && plan.n_devices <= TENANT_DEVICES;
        if (allowed)
                take_over(d, lease_of_plan(d, &request, &plan));
        else
                d->n_refused++;
        plan_clear(&plan);
        findings_clear(&findings);
        return allowed;
}
