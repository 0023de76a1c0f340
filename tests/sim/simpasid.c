/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "sim/simdaemon.h"

/* PASIDs: what the daemon tells the gate of its leases, what clients attach, and whether they have more than was booked. */

#define NUMBERS 40 /* more than the devices can have */

static Kernel *kernel_of(SimDaemon *d) {
        return &d->sim->kernel;
}

void simpasid_tell(SimDaemon *d, const Tenant *t) {
        const Lease *l = t->lease;
        GateLease *rule = calloc(1, sizeof(*rule));

        if (!rule)
                abort();
        memcpy(rule->id, l->id, sizeof(rule->id));
        /* What is on its way out gets no new ones. */
        rule->limit = l->state == LEASE_ACTIVE ? l->pasids : 0;
        for (size_t i = 0; i < l->n_devices; i++)
                if (!l->devices[i].released)
                        rule->devices[rule->n_devices++].cdev =
                                sim_cdev_number(d->sim, sim_device(d->sim, l->devices[i].address));
        if (kernel_of(d)->ops->gate_set_lease(kernel_of(d), rule) < 0)
                abort();
        free(rule);
}

void simpasid_end(SimDaemon *d, const Tenant *t) {
        (void) kernel_of(d)->ops->gate_drop_lease(kernel_of(d), t->lease->id);
}

static bool has_tenant(const SimDaemon *d, const char *id) {
        for (size_t i = 0; i < d->n_tenants; i++)
                if (streq(d->tenants[i]->lease->id, id))
                        return true;
        return false;
}

void simpasid_start(SimDaemon *d) {
        _cleanup_free_ char(*ids)[LEASE_ID_LEN + 1] = NULL;
        Kernel *k = kernel_of(d);
        PasidCounts counts;
        size_t n;

        if (k->ops->gate_open(k) < 0 || k->ops->gate_list_leases(k, &ids, &n) < 0)
                abort();
        for (size_t i = 0; i < n; i++)
                if (!has_tenant(d, ids[i]) && (k->ops->gate_read_lease(k, ids[i], &counts) < 0 || counts.in_use == 0))
                        (void) k->ops->gate_drop_lease(k, ids[i]);
        for (size_t i = 0; i < d->n_tenants; i++)
                simpasid_tell(d, d->tenants[i]);
}

/* By the daemon, which has the descriptor of an attached device. */
void simpasid_order(SimDaemon *d, Tenant *t, size_t i) {
        Job *job = daemon_job(d, JOB_PASID, t->lease->hand_over);

        job->device_fd = t->fds[i];
        job->pasid = (PasidOrder) {
                .detach = daemon_below(d, 3) == 0,
                .pasid = 1 + daemon_below(d, NUMBERS - 1), /* 0 it refuses by itself */
                .pt = t->lease->devices[i].pt,
        };
        (void) daemon_run(d, job);
        d->n_pasids_refused += job->result == -EDQUOT;
}

void simpasid_client(SimDaemon *d, int fd, int iommufd) {
        Kernel *k = kernel_of(d);
        const SimFile *f = sim_file(d->sim, fd);
        uint32_t devid = (uint32_t) f->device << SIM_OBJECT_SHIFT | SIM_OBJECT_DEVICE, ioas, pt;

        if (daemon_below(d, 3) == 0) {
                (void) k->ops->detach_pasid(k, fd, daemon_below(d, NUMBERS));
                return;
        }
        if (k->ops->alloc_ioas(k, iommufd, &ioas) >= 0 && k->ops->alloc_pasid_table(k, iommufd, devid, ioas, &pt) >= 0)
                d->n_pasids_refused += k->ops->attach_pasid(k, fd, pt, daemon_below(d, NUMBERS)) == -EDQUOT;
}

/* 0 stands for the device's own traffic. */
static unsigned count_of_file(const SimFile *f) {
        unsigned n = 0;

        for (unsigned i = 0; i < f->n_pasids; i++)
                n += f->pasids[i].number != 0;
        return n;
}

/* Counted by what is attached, and not by what the gate says of it. What somebody else has had since before the lease is not its. */
static unsigned count(const SimDaemon *d, const Tenant *t) {
        const Lease *l = t->lease;
        unsigned n = 0;

        for (size_t i = 0; i < l->n_devices; i++)
                for (int f = sim_device(d->sim, l->devices[i].address)->first_file; f >= 0;
                     f = d->sim->files[f].next_of_device)
                        n += d->sim->files[f].tag == t->serial ? count_of_file(&d->sim->files[f]) : 0;
        return n;
}

void simpasid_check(SimDaemon *d) {
        for (size_t i = 0; i < d->n_tenants; i++)
                if (count(d, d->tenants[i]) > d->tenants[i]->lease->pasids)
                        model_found(&d->model, FLAW_QUOTA, sim_device(d->sim, d->tenants[i]->lease->devices[0].address),
                                    "more PASIDs are attached than its lease has booked");
}
