/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/random.h>
#include <syslog.h>
#include <time.h>

#include "broker/acquire.h"
#include "broker/blame.h"
#include "broker/release.h"
#include "system/journal.h"
#include "util/text.h"

/* The steps of an acquisition, each begun by the end of the one before:
 *
 *   acquire_start     the lease is in the ledger and on disk, PREPARING, before anything is touched
 *   on_iommufd        the lease's iommufd is open
 *   on_prepared       once per part: its devices are ready, or everything of the part is undone
 *   finish_initial    all parts have ended: the lease is ACTIVE and the caller told; or what did succeed goes back
 *
 * Devices that join an active lease go the same way without the first two: acquire_join, on_prepared, finish_join.
 */

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
        l->unit = strdup(client->unit);
        l->cgroup = strdup(client->cgroup);
        if (!l->unit || !l->cgroup)
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

/* Tells the caller how it ended, once, and ends the preparation. */
static void answer(Preparation *p, Lease *l) {
        Preparation **link = &p->run->preparations;

        while (*link != p)
                link = &(*link)->next;
        *link = p->next;
        p->done(l, l ? &p->devices : NULL, p->failure.error_name, p->failure.text, p->userdata);
        free(p);
}

static void finish_initial(Preparation *p) {
        LeaseRun *run = p->run;
        Broker *b = run->broker;
        Lease *l = run->lease;

        if (!p->failure.set && !isempty(run->end_reason))
                blame_text(&p->failure, "the lease was ended before it was ready: %s", run->end_reason);
        if (p->failure.set) {
                answer(p, NULL);
                l->restore = true; /* nothing was lent, so everything goes back whatever was asked for the end */
                release_begin(b, l, isempty(run->end_reason) ? "the acquisition failed" : run->end_reason);
                return;
        }
        ledger_activate(&b->ledger, l);
        run_save(run);
        for (size_t i = 0; i < l->n_devices; i++)
                broker_refresh(b, l->devices[i].address);
        journal_granted(l);
        broker_lease_changed(b, l);
        answer(p, l);
}

/* What failed to join is out of the lease again, or parked if its group is the lease's, or on its way out. */
static void expel(LeaseRun *run, const Preparation *p, Address a) {
        LeaseDevice *d = lease_device(run->lease, a);

        d->joining = false;
        if (d->released && (!address_list_has(&p->stays, a) || address_list_has(&p->fresh, a))) {
                run_drop_device(run, a);
                broker_refresh(run->broker, a);
        } else if (d->released) {
                d->released = false;
                d->role = ROLE_PARKED;
                d->opened = d->closed = d->taken = false;
        } else
                d->leaving = d->closed = true;
}

static void finish_join(Preparation *p) {
        LeaseRun *run = p->run;
        Broker *b = run->broker;
        Lease *l = run->lease;

        if (!p->failure.set && l->state != LEASE_ACTIVE)
                blame_text(&p->failure, "the lease ended before the devices were ready: %s", l->reason);
        for (size_t i = 0; i < p->devices.n; i++) {
                if (p->failure.set && l->state == LEASE_ACTIVE)
                        expel(run, p, p->devices.items[i]);
                else
                        lease_device(l, p->devices.items[i])->joining = false;
        }
        ledger_update(&b->ledger, l);
        run_save(run);
        for (size_t i = 0; i < l->n_devices; i++)
                broker_refresh(b, l->devices[i].address);
        broker_lease_changed(b, l);
        if (!p->failure.set)
                journal_granted(l);
        answer(p, p->failure.set ? NULL : l);
        /* Whatever has to go, goes now: it was not started while a worker was at it. */
        release_continue(run);
}

static void finish(Preparation *p) {
        for (const LeasePart *part = p->run->parts; part; part = part->next)
                if (part->preparation == p)
                        return;
        if (p->run->open_task)
                return;
        if (p->initial)
                finish_initial(p);
        else
                finish_join(p);
}

static void on_prepared(Job *job, void *userdata) {
        LeasePart *part = userdata;
        LeaseRun *run = part->run;
        Preparation *p = part->preparation;

        part->task = NULL;
        part->preparation = NULL;
        run_take_results(run, job);
        if (job->result < 0 && !p->failure.set)
                blame_job(run->broker, run->lease, job, &p->failure);
        /* Nothing of a failed part was handed out, and what the worker had opened went with it. */
        for (size_t i = 0; i < job->n_devices && job->result < 0; i++)
                lease_device(run->lease, job->devices[i].lease.address)->closed = true;
        /* What was touched is parked now; only the others can simply be forgotten. */
        for (size_t i = 0; i < job->n_devices && job->result < 0; i++)
                if (!job->devices[i].untouched)
                        address_list_remove(&p->fresh, job->devices[i].lease.address);
        finish(p);
}

static bool is_prepared_by(const LeaseRun *run, size_t i, const void *userdata) {
        const LeasePart *part = userdata;

        return run->devices[i].part == part &&
               address_list_has(&part->preparation->devices, run->lease->devices[i].address);
}

static int start_part(LeaseRun *run, LeasePart *part) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));

        if (!job)
                return -ENOMEM;
        run_make_job(run, JOB_PREPARE, is_prepared_by, part, job);
        for (size_t i = 0; i < job->n_devices; i++)
                job->devices[i].stays = address_list_has(&part->preparation->stays, job->devices[i].lease.address);
        return task_start(run->broker->tasks, job, on_prepared, part, &part->task);
}

/* A part that was not begun has nothing to undo. */
static void give_up_part(LeaseRun *run, LeasePart *part) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                if (is_prepared_by(run, i, part))
                        run->lease->devices[i].released = true;
        part->preparation = NULL;
}

static void fail(Preparation *p, int r, const char *what) {
        if (p->failure.set)
                return;
        blame_text(&p->failure, "%s: %s", what, strerror(-r));
        if (r == -EWOULDBLOCK)
                blame_busy(&p->failure);
}

static void start_parts(Preparation *p) {
        LeaseRun *run = p->run;

        for (LeasePart *part = run->parts; part; part = part->next) {
                int r = 0;

                if (part->preparation != p)
                        continue;
                if (!p->failure.set)
                        r = start_part(run, part);
                if (r < 0)
                        fail(p, r, "cannot start a worker");
                if (!part->task)
                        give_up_part(run, part);
        }
        finish(p);
}

static void on_iommufd(Job *job, void *userdata) {
        Preparation *p = userdata;
        LeaseRun *run = p->run;

        run->open_task = NULL;
        if (job->result >= 0 && job->iommufd < 0)
                job->result = -EIO;
        if (job->result < 0)
                fail(p, job->result, "cannot open /dev/iommu");
        run->iommufd = TAKE_FD(job->iommufd);
        run->ioas = job->ioas;
        start_parts(p);
}

static bool is_none(_unused_ const LeaseRun *run, _unused_ size_t i, _unused_ const void *userdata) {
        return false; /* the iommufd needs no device, and so no lock */
}

static void begin_work(Preparation *p) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        LeaseRun *run = p->run;
        int r = -ENOMEM;

        if (run->lease->hand_over == HAND_OVER_NONE) {
                start_parts(p);
                return;
        }
        if (job) {
                run_make_job(run, JOB_IOMMUFD, is_none, NULL, job);
                r = task_start(run->broker->tasks, job, on_iommufd, p, &run->open_task);
        }
        if (r < 0) {
                fail(p, r, "cannot start a worker");
                start_parts(p);
        }
}

static int preparation_new(LeaseRun *run, bool initial, acquire_done_t done, void *userdata, Preparation **ret) {
        Preparation *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        p->run = run;
        p->initial = initial;
        p->done = done;
        p->userdata = userdata;
        p->next = run->preparations;
        run->preparations = p;
        *ret = p;
        return 0;
}

/* The device is this preparation's, and so is its part until the worker has ended. */
static void prepare_device(Preparation *p, Address a) {
        LeaseRun *run = p->run;

        (void) address_list_add(&p->devices, a);
        run->devices[run_index(run, lease_device(run->lease, a))].part->preparation = p;
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
        return r;
}

int acquire_start(Broker *b, Plan *plan, const Request *request, const Client *client, acquire_done_t done,
                  void *userdata) {
        _cleanup_(lease_freep) Lease *l = NULL;
        Preparation *p = NULL;
        LeaseRun *run;
        int r;

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
        /* On disk before the first device is touched: whatever happens from here on, a restart knows what was and undoes it. */
        r = lifeline_create(&b->store, run->lease->id, &run->lifeline, &run->lifeline_write);
        if (r >= 0)
                r = lifeline_watch(run->lifeline, b->event, on_lifeline_ended, run);
        if (r >= 0)
                r = preparation_new(run, true, done, userdata, &p);
        if (r >= 0)
                r = store_save_lease(&b->store, run->lease);
        if (r < 0)
                return back_out(b, run, r);
        if (b->listener)
                b->listener->lease_added(run->lease, b->listener_userdata);
        broker_lease_changed(b, run->lease);
        for (size_t i = 0; i < run->lease->n_devices; i++)
                prepare_device(p, run->lease->devices[i].address);
        begin_work(p);
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

/* Undoes what acquire_join() has done before any work was begun. */
static void back_out_join(LeaseRun *run, Preparation *p, size_t first) {
        Lease *l = run->lease;

        while (l->n_devices > first)
                ledger_leave(&run->broker->ledger, l, l->devices[l->n_devices - 1].address);
        for (size_t i = 0; i < l->n_devices; i++) {
                if (!l->devices[i].joining)
                        continue;
                l->devices[i].joining = false;
                l->devices[i].role = ROLE_PARKED;
        }
        ledger_update(&run->broker->ledger, l);
        run->preparations = p->next;
        free(p);
}

int acquire_join(Broker *b, Lease *l, Plan *plan, acquire_done_t done, void *userdata) {
        LeaseRun *run = run_find(b, l);
        size_t first = l->n_devices;
        Preparation *p;
        int r;

        if (!run || l->state != LEASE_ACTIVE)
                return -ESHUTDOWN;
        for (size_t i = 0; i < plan->n_devices; i++)
                if (is_part_busy(run, &plan->devices[i]))
                        return -EBUSY;
        r = preparation_new(run, false, done, userdata, &p);
        if (r < 0)
                return r;
        for (size_t i = 0; i < plan->n_devices; i++) {
                if (is_owned(b, l, &plan->devices[i]))
                        (void) address_list_add(&p->stays, plan->devices[i].address);
                if (!lease_device(l, plan->devices[i].address))
                        (void) address_list_add(&p->fresh, plan->devices[i].address);
        }
        r = ledger_join(&b->ledger, l, plan->devices, plan->n_devices);
        if (r >= 0)
                r = run_extend(run, first);
        if (r < 0) {
                back_out_join(run, p, first);
                return r;
        }
        for (size_t i = 0; i < plan->n_devices; i++)
                prepare_device(p, plan->devices[i].address);
        /* As with a new lease: on disk before anything is touched. */
        run_save(run);
        broker_lease_changed(b, l);
        start_parts(p);
        return 0;
}
