/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simdaemon.h"
#include "util/text.h"

#define FOREIGN_TAG UINT32_MAX

/* --- clients --- */

/* Tries what it likes with a group: gives it a container and opens a device by it. */
static void client_use_group(SimDaemon *d, int fd, int pid) {
        Sim *s = d->sim;
        const Device *x;
        const Tenant *t;
        SimDevice *sd;
        int container = -1, device;
        unsigned tag = sim_file(s, fd)->tag;

        while ((container = sim_next_fd(s, pid, container)) >= 0 && !sim_file(s, container)->is_container)
                ;
        if (container < 0)
                container = sim_open_container(s, pid);
        (void) sim_set_container(s, fd, container);
        sd = &s->devices[daemon_below(d, (unsigned) s->n_devices)];
        for (size_t i = 0; i < s->n_devices && sd->group != sim_file(s, fd)->group; i++)
                sd = &s->devices[i];
        device = sim_open_by_group(s, fd, container, sd, pid);
        if (device < 0)
                return;
        sim_file(s, device)->tag = tag;
        sd->dirty = true;
        x = inventory_device(&d->ledger.inventory, sd->facts.address);
        t = x ? daemon_tenant(d, x->lease) : NULL;
        /* Who appears in the group on a VFIO driver is open to it, until the daemon has parked him. */
        if ((!t || t->serial != tag) && !d->model.disturbed[sd->group])
                model_found(&d->model, FLAW_OLD_DESCRIPTOR, sd, "opened through a group of another lease");
}

/* As the user whose lease has the hand-over node. */
static void open_node(SimDaemon *d, const Tenant *t, const SimDevice *sd) {
        int fd = sim_open_group(d->sim, &d->sim->groups[sd->group], t->client);

        if (fd < 0)
                return;
        sim_file(d->sim, fd)->tag = t->serial;
        client_use_group(d, fd, t->client);
}

/* On disk first: what can be opened may be used. */
static void note_taken(Tenant *t) {
        for (size_t i = 0; i < t->lease->n_devices; i++)
                if ((t->fds[i] >= 0 && t->lease->devices[i].role == ROLE_LEASED) ||
                    (t->lease->hand_over == HAND_OVER_NODE && t->lease->devices[i].role == ROLE_LEASED))
                        t->lease->devices[i].taken = true;
        /* One descriptor stands for all of its group. */
        for (size_t i = 0; i < t->lease->n_devices && t->lease->hand_over == HAND_OVER_GROUP; i++)
                t->lease->devices[i].taken = t->lease->devices[i].role == ROLE_LEASED;
        daemon_save(t);
}

static void hand_over_device(SimDaemon *d, Tenant *t, size_t i) {
        const LeaseDevice *ld = &t->lease->devices[i];
        SimDevice *sd = sim_device(d->sim, ld->address);

        if (t->lease->hand_over == HAND_OVER_NONE && ld->role == ROLE_LEASED && sd->present && !sd->unbinding &&
            sim_driver_kind(d->sim, sd) == DRIVER_VFIO && daemon_below(d, 2)) {
                /* Whoever gets the lifeline only opens the nodes himself. */
                sim_file(d->sim, sim_open_device(d->sim, sd, t->client))->tag = t->serial;
                return;
        }
        if (t->lease->hand_over == HAND_OVER_NODE && ld->role == ROLE_LEASED && daemon_below(d, 2))
                open_node(d, t, sd);
        if (t->fds[i] < 0 || ld->role != ROLE_LEASED)
                return;
        sim_file(d->sim, t->fds[i])->tag = t->serial;
        (void) sim_client_dup(d->sim, t->fds[i], t->client);
        if (t->lease->hand_over != HAND_OVER_GROUP)
                sd->dirty = true; /* else when it is opened */
        if (t->lease->hand_over != HAND_OVER_ATTACHED && t->lease->hand_over != HAND_OVER_GROUP) {
                (void) sim_close(d->sim, t->fds[i]);
                t->fds[i] = -EBADF;
        }
}

void world_hand_over(SimDaemon *d, Tenant *t) {
        t->handed = true;
        note_taken(t);
        if (t->iommufd >= 0)
                (void) sim_client_dup(d->sim, t->iommufd, t->client);
        for (size_t i = 0; i < t->lease->n_devices; i++)
                hand_over_device(d, t, i);
}

void world_hand_out(SimDaemon *d, Tenant *t, size_t i) {
        if (!simrevoke_lives(d, t->client))
                return;
        note_taken(t);
        hand_over_device(d, t, i);
}

/* Some descriptor of a client, or one in flight; -1 if the search finds none. */
static int some_fd(SimDaemon *d) {
        const Sim *s = d->sim;
        size_t from = s->n_fds ? daemon_below(d, (unsigned) s->n_fds) : 0;

        for (size_t i = 0; i < s->n_fds; i++) {
                size_t fd = (from + i) % s->n_fds;
                int pid = s->fds[fd].pid;

                if (s->fds[fd].file >= 0 &&
                    (pid == SIM_PID_FLIGHT || pid == SIM_PID_FOREIGN || (pid >= SIM_PID_CLIENT && pid < SIM_PID_HUNG)))
                        return (int) fd;
        }
        return -1;
}

/* Tries what an attacker would: whatever device descriptor with whatever iommufd the process has. */
static void client_bind(SimDaemon *d, int fd, int pid) {
        Sim *s = d->sim;
        SimFile *f = sim_file(s, fd);
        SimDevice *sd;
        const Device *x;
        const Tenant *t;
        BoundFacts facts;
        int iommufd = -1;

        if (pid == SIM_PID_FLIGHT)
                return;
        if (f->group >= 0)
                client_use_group(d, fd, pid);
        if (sim_file(s, fd)->device < 0)
                return;
        while ((iommufd = sim_next_fd(s, pid, iommufd)) >= 0 && !sim_is_iommufd(sim_file(s, iommufd)))
                ;
        if (iommufd >= 0 && sim_file(s, fd)->bound == sim_file(s, iommufd)->serial)
                simpasid_client(d, fd, iommufd);
        if (iommufd < 0)
                iommufd = sim_open_iommufd(s, pid); /* it may have got one from anywhere */
        f = sim_file(s, fd);
        if (sim_bind(s, fd, iommufd, &facts) < 0)
                return;
        sd = &s->devices[f->device];
        sd->listened = daemon_below(d, 2);
        sd->dirty = f->tag != FOREIGN_TAG; /* what others leave in it is not our business */
        x = inventory_device(&d->ledger.inventory, sd->facts.address);
        t = x ? daemon_tenant(d, x->lease) : NULL;
        if (f->tag != FOREIGN_TAG && (!t || t->serial != f->tag))
                model_found(&d->model, FLAW_OLD_DESCRIPTOR, sd, "bound through a descriptor of another lease");
}

static void client_copy_all(SimDaemon *d, int from, int to) {
        Sim *s = d->sim;
        size_t n = s->n_fds;

        for (int fd = -1; (fd = sim_next_fd(s, from, fd)) >= 0 && (size_t) fd < n;)
                (void) sim_client_dup(s, fd, to);
}

void world_client(SimDaemon *d) {
        Sim *s = d->sim;
        int fd = some_fd(d), pid;

        if (fd < 0)
                return;
        pid = s->fds[fd].pid;
        if (pid >= SIM_PID_CLIENT && !simrevoke_lives(d, pid)) {
                /* Killed while it slept in the kernel: that ends one day. */
                if (daemon_below(d, 4) == 0)
                        simrevoke_end_process(d, pid);
                return;
        }
        switch (daemon_below(d, 12)) {
        case 0:
        case 1:
        case 2:
                client_bind(d, fd, pid);
                break;
        case 3: /* forks */
                if (pid != SIM_PID_FLIGHT && sim_count_fds(s, pid) < 16)
                        client_copy_all(d, pid, simrevoke_child(d, pid));
                break;
        case 4: /* sends it to a socket that nobody reads, and keeps it */
                if (pid != SIM_PID_FLIGHT && daemon_below(d, 4) == 0)
                        (void) sim_client_dup(s, fd, SIM_PID_FLIGHT);
                break;
        case 5: /* sends it away, where nobody sees it */
        case 9:
                if (pid != SIM_PID_FLIGHT)
                        s->fds[fd].pid = SIM_PID_FLIGHT;
                break;
        case 6: /* somebody takes it from the socket */
                if (pid == SIM_PID_FLIGHT)
                        s->fds[fd].pid = simrevoke_process(d, 1000 + daemon_below(d, 4), simquota_cgroup(d));
                break;
        case 7:
        case 8:
                if (pid != SIM_PID_FLIGHT) {
                        simrevoke_end_process(d, pid);
                        break;
                }
                __attribute__((__fallthrough__));
        default:
                (void) sim_close(s, fd);
        }
}

void world_wish(SimDaemon *d, Tenant *t) {
        size_t i = t->lease->n_devices > 0 ? daemon_below(d, (unsigned) t->lease->n_devices) : 0;

        if (i >= t->lease->n_devices || t->lease->devices[i].role != ROLE_LEASED)
                return;
        t->busy = true;
        if (daemon_below(d, 2))
                simset_reset(d, t, i);
        else if (t->lease->hand_over == HAND_OVER_ATTACHED && t->fds[i] >= 0)
                simpasid_order(d, t, i);
        t->busy = false;
}

/* --- the host --- */

static bool is_free(const SimDaemon *d, const SimDevice *sd) {
        const Device *x = inventory_device(&d->ledger.inventory, sd->facts.address);

        return sd->present && sd->lock == SIM_UNLOCKED && x && !x->lease && x->state == DEVICE_FREE;
}

/* What an administrator does to a device that nobody has leased. */
static void meddle(SimDaemon *d, SimDevice *sd) {
        Sim *s = d->sim;
        const Group *g = inventory_group(&d->ledger.inventory, s->groups[sd->group].id);
        int vfio = sim_driver(s, "vfio-pci"), fd;

        if (facts_is_bridge(&sd->facts))
                return;
        if (g && g->lease)
                d->model.disturbed[sd->group] = true;
        switch (daemon_below(d, 5)) {
        case 0:
                if (sd->n_open == 0)
                        sim_unbind(s, sd);
                break;
        case 3: /* mounts it, or no longer */
                sd->in_use = !sd->in_use && sim_driver_kind(s, sd) == DRIVER_HOST;
                break;
        case 1:
                sd->override[0] = '\0';
                sim_probe(s, sd);
                break;
        case 2:
                if (sd->driver >= 0)
                        break;
                (void) text_copy(sd->override, sizeof(sd->override), "vfio-pci");
                (void) sim_attach_driver(s, sd, vfio);
                break;
        default:
                if (sd->driver != vfio || s->no_iommufd || (g && g->lease))
                        break;
                model_home(&d->model, sd)->foreign = true;
                fd = sim_open_device(s, sd, SIM_PID_FOREIGN);
                sim_file(s, fd)->tag = FOREIGN_TAG;
                if (daemon_below(d, 2))
                        client_bind(d, fd, SIM_PID_FOREIGN);
                if (daemon_below(d, 4) == 0)
                        s->fds[fd].pid = SIM_PID_FLIGHT;
        }
        model_settle(&d->model, sd);
}

static void mend(SimDaemon *d, SimDevice *sd) {
        Sim *s = d->sim;
        Device *x = inventory_device(&d->ledger.inventory, sd->facts.address);
        const Home *h = model_home(&d->model, sd);

        if (!x || x->state != DEVICE_BROKEN || x->lease || sd->lock != SIM_UNLOCKED || !sd->present)
                return;
        if (sd->n_open == 0 && sd->driver >= 0)
                sim_detach_driver(s, sd);
        sd->dirty = false;
        (void) text_copy(sd->override, sizeof(sd->override), h->override);
        if (sd->driver < 0 && sim_driver(s, h->driver) >= 0)
                (void) sim_attach_driver(s, sd, sim_driver(s, h->driver));
        x->state = DEVICE_FREE;
        x->reason[0] = '\0';
        model_settle(&d->model, sd);
}

static void toggle_module(SimDaemon *d) {
        static const char *const names[] = { "nvme", "e1000e", "xhci_hcd", "mlx5_core", "odd", "mlx5_vfio_pci" };
        Sim *s = d->sim;
        int driver = sim_driver(s, names[daemon_below(d, ARRAY_SIZE(names))]);

        if (!s->drivers[driver].loaded) {
                s->drivers[driver].missing = false;
                (void) sim_load(s, s->drivers[driver].module);
        } else if (s->drivers[driver].kind == DRIVER_HOST) {
                for (size_t i = 0; i < s->n_devices; i++)
                        if (s->devices[i].driver == driver && (!is_free(d, &s->devices[i]) || s->devices[i].in_use))
                                return; /* it is in use, or it is being restored, or broken: leave the oracle its peace */
                sim_unload(s, driver);
                for (size_t i = 0; i < s->n_devices; i++)
                        if (is_free(d, &s->devices[i]))
                                model_settle(&d->model, &s->devices[i]);
                s->drivers[driver].missing = daemon_below(d, 8) == 0;
        }
}

void world_host(SimDaemon *d) {
        Sim *s = d->sim;
        SimDevice *sd = &s->devices[daemon_below(d, (unsigned) s->n_devices)];

        switch (daemon_below(d, 8)) {
        case 0:
        case 1:
        case 2:
                if (is_free(d, sd))
                        meddle(d, sd);
                break;
        case 3:
                if (!facts_is_bridge(&sd->facts) && daemon_below(d, 3) == 0)
                        sim_vanish(s, sd);
                break;
        case 4: /* what was pulled comes back, somewhere */
                for (size_t i = 0; i < s->n_devices; i++)
                        if (!s->devices[i].present && !s->devices[i].facts.virtual_function) {
                                sd = &s->devices[i];
                                (void) sim_appear(s, sd, true);
                                break;
                        }
                break;
        case 5:
                mend(d, sd);
                break;
        case 6:
                if (sd->lock == SIM_LOCKED_BY_FAULT)
                        sim_unlock(s, sd);
                break;
        default:
                if (daemon_below(d, 4) == 0)
                        toggle_module(d);
        }
        daemon_sync_hotplug(d);
}

/* In the middle of a job nobody tells the daemon of anything, and the host leaves what is at work alone. */
void world_meanwhile(void *userdata) {
        SimDaemon *d = userdata;

        world_client(d);
}

static void unlock_all(SimDaemon *d) {
        for (size_t i = 0; i < d->sim->n_devices; i++)
                if (d->sim->devices[i].lock == SIM_LOCKED_BY_FAULT)
                        sim_unlock(d->sim, &d->sim->devices[i]);
}

/* Of a lease that should have ended; NULL if it has none such. */
static const SimDevice *some_unreleased(SimDaemon *d) {
        const Lease *l = d->tenants[0]->lease;

        for (size_t i = 0; i < l->n_devices; i++)
                if (!l->devices[i].released)
                        return sim_device(d->sim, l->devices[i].address);
        return NULL;
}

void world_calm_down(SimDaemon *d) {
        Sim *s = d->sim;

        s->rate = 0;
        s->meanwhile_rate = 0;
        for (size_t i = 0; i < s->n_fds; i++)
                if (s->fds[i].file >= 0 && s->fds[i].pid != SIM_PID_DAEMON && s->fds[i].pid < SIM_PID_HUNG)
                        (void) sim_close(s, (int) i);
        unlock_all(d);
        daemon_sync_hotplug(d);
        for (size_t i = d->n_tenants; i-- > 0;)
                if (!lease_is_ending(d->tenants[i]->lease))
                        release_begin(d, d->tenants[i], "the end");
        for (unsigned round = 0; round < 4; round++)
                for (size_t i = d->n_tenants; i-- > 0;)
                        (void) release_go_on(d, d->tenants[i]);
        if (d->n_tenants > 0)
                model_found(&d->model, FLAW_LEAK, some_unreleased(d),
                            "its lease does not end though nobody holds anything");
        else if (sim_next_fd(s, SIM_PID_DAEMON, -1) >= 0)
                model_found(&d->model, FLAW_LEAK, NULL, "the daemon is idle and has descriptors");
}
