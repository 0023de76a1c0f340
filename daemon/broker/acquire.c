/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/random.h>
#include <syslog.h>
#include <time.h>

#include "broker/acquire.h"
#include "broker/limit.h"
#include "broker/preparation.h"
#include "broker/quota.h"
#include "broker/release.h"
#include "broker/virtual.h"
#include "system/journal.h"
#include "util/fd.h"
#include "util/text.h"

static int make_id(char id[static LEASE_ID_LEN + 1]) {
        unsigned char bytes[LEASE_ID_LEN / 2];
        ssize_t n = getrandom(bytes, sizeof(bytes), 0);

        if (n < 0)
                return -errno;
        if (n != (ssize_t) sizeof(bytes))
                return -EIO;
        for (size_t i = 0; i < sizeof(bytes); i++)
                (void) snprintf(id + 2 * i, 3, "%02x", bytes[i]);
        return 0;
}

static int make_lease(Plan *plan, const Request *request, const Client *client, Lease **ret) {
        _cleanup_(lease_freep) Lease *l = calloc(1, sizeof(*l));
        const Reservation *res = plan->reservation;
        struct timespec now;
        int r;

        if (!l)
                return -ENOMEM;
        r = make_id(l->id);
        if (r < 0)
                return r;
        if (clock_gettime(CLOCK_REALTIME, &now) < 0)
                return -errno;
        l->uid = client->caller.uid;
        l->pid = client->caller.pid;
        l->process = fd_pidfd_id(client->pidfd);
        l->unit = strdup(client->unit);
        l->cgroup = strdup(client->cgroup);
        l->charged = strdup(client->charged);
        l->chain = client->chain;
        if (!l->unit || !l->cgroup || !l->charged)
                return -ENOMEM;
        l->hand_over = request->hand_over;
        l->state = LEASE_PREPARING;
        l->reset_set = request->reset_set;
        l->restore = request->restore;
        l->per_process = !res || !res->account_user;
        l->memlock = res ? res->memlock : 0;
        l->pasids = request->pasids;
        l->created = (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
        if (res)
                (void) text_copy(l->reservation, sizeof(l->reservation), res->name);
        l->devices = TAKE_PTR(plan->devices);
        l->n_devices = TAKE(plan->n_devices, 0);
        *ret = TAKE_PTR(l);
        return 0;
}

static void on_lifeline_ended(void *userdata) {
        LeaseRun *run = userdata;

        release_begin(run->broker, run->lease, "its lifeline was closed");
}

/* Undoes what acquire_start() has done before any work was begun. */
static int back_out(Broker *b, LeaseRun *run, int r) {
        Lease *l = run->lease;

        store_remove_lease(&b->store, l->id);
        run_free(run);
        ledger_close(&b->ledger, l);
        quota_publish(b);
        return r;
}

int acquire_start(Broker *b, Plan *plan, const Request *request, const Client *client, acquire_done_t done,
                  void *userdata) {
        _cleanup_(lease_freep) Lease *l = NULL;
        Preparation *p = NULL;
        LeaseRun *run;
        int r;

        r = virtual_give_tokens(b, plan->devices, plan->n_devices);
        if (r >= 0)
                r = make_lease(plan, request, client, &l);
        if (r < 0)
                return r;
        r = ledger_open(&b->ledger, l);
        if (r < 0)
                return r;
        r = run_new(b, l, &run);
        if (r < 0) {
                ledger_close(&b->ledger, TAKE_PTR(l));
                return r;
        }
        TAKE_PTR(l);
        r = limit_confirm(b, run->lease);
        /* On disk before the first device is touched: whatever happens from here on, a restart knows what was and undoes it. */
        if (r >= 0)
                r = lifeline_create(&b->store, run->lease->id, &run->lifeline, &run->lifeline_write);
        if (r >= 0)
                r = lifeline_watch(run->lifeline, b->event, on_lifeline_ended, run);
        if (r >= 0)
                r = preparation_new(run, plan, true, done, userdata, &p);
        if (r >= 0)
                r = store_save_lease(&b->store, run->lease);
        if (r < 0)
                return back_out(b, run, r);
        if (b->listener)
                b->listener->lease_added(run->lease, b->listener_userdata);
        broker_lease_changed(b, run->lease);
        quota_publish(b);
        for (size_t i = 0; i < run->lease->n_devices; i++)
                preparation_add(p, run->lease->devices[i].address);
        preparation_begin(p);
        return 0;
}

/* Does the lease own its group already? */
static bool is_owned(const Broker *b, const Lease *l, const LeaseDevice *d) {
        const Group *g = inventory_group(&b->ledger.inventory, d->group);

        return g && g->lease == l;
}

static bool is_part_busy(const LeaseRun *run, const LeaseDevice *d) {
        const LeaseDevice *own = lease_device(run->lease, d->address);
        const LeasePart *part = own ? run->devices[run_index(run, own)].part : NULL;

        return part && (part->task || part->preparation);
}

/* Undoes what acquire_join() has done before any work was begun. before: the devices as they were. */
static int back_out_join(LeaseRun *run, Preparation *p, const LeaseDevice *before, size_t first, int r) {
        Lease *l = run->lease;

        while (l->n_devices > first)
                ledger_leave(&run->broker->ledger, l, l->devices[l->n_devices - 1].address);
        (void) memcpy(l->devices, before, first * sizeof(*before));
        ledger_update(&run->broker->ledger, l);
        preparation_forget(p);
        return r;
}

/* Which of the devices the lease is new to, and which it owned the group of already. */
static void note_owned(Preparation *p, const Plan *plan) {
        const LeaseRun *run = p->run;

        for (size_t i = 0; i < plan->n_devices; i++) {
                if (is_owned(run->broker, run->lease, &plan->devices[i]))
                        (void) address_list_add(&p->stays, plan->devices[i].address);
                if (!lease_device(run->lease, plan->devices[i].address))
                        (void) address_list_add(&p->fresh, plan->devices[i].address);
        }
}

int acquire_join(Broker *b, Lease *l, Plan *plan, acquire_done_t done, void *userdata) {
        _cleanup_free_ LeaseDevice *before = calloc(l->n_devices + 1, sizeof(*before));
        LeaseRun *run = run_find(b, l);
        size_t first = l->n_devices;
        Preparation *p;
        int r;

        if (!before)
                return -ENOMEM;
        if (!run || l->state != LEASE_ACTIVE)
                return -ESHUTDOWN;
        if (first + plan->n_devices > REQUEST_DEVICES_MAX)
                return -E2BIG;
        /* Its iommufd was lost with an earlier daemon. */
        if (l->hand_over == HAND_OVER_ATTACHED && run->iommufd < 0)
                return -EOPNOTSUPP;
        for (size_t i = 0; i < plan->n_devices; i++)
                if (is_part_busy(run, &plan->devices[i]))
                        return -EBUSY;
        r = virtual_give_tokens(b, plan->devices, plan->n_devices);
        if (r >= 0)
                r = preparation_new(run, plan, false, done, userdata, &p);
        if (r < 0)
                return r;
        note_owned(p, plan);
        if (first > 0)
                (void) memcpy(before, l->devices, first * sizeof(*before));
        r = ledger_join(&b->ledger, l, plan->devices, plan->n_devices);
        if (r >= 0)
                r = run_extend(run, first);
        if (r < 0)
                return back_out_join(run, p, before, first, r);
        for (size_t i = 0; i < plan->n_devices; i++)
                preparation_add(p, plan->devices[i].address);
        /* As with a new lease: on disk before anything is touched. */
        r = store_save_lease(&b->store, l);
        if (r < 0)
                return back_out_join(run, p, before, first, r);
        broker_lease_changed(b, l);
        preparation_start_parts(p);
        return 0;
}
