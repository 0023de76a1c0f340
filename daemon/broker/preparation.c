/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "broker/preparation.h"
#include "broker/blame.h"
#include "broker/enforce.h"
#include "broker/handout.h"
#include "broker/keep.h"
#include "broker/leave.h"
#include "broker/node.h"
#include "broker/release.h"
#include "broker/reread.h"
#include "broker/taken.h"
#include "broker/wait.h"
#include "core/errors.h"
#include "system/journal.h"
#include "util/fd.h"

/* The steps, each begun by the end of the one before:
 *
 *   preparation_begin        of a new lease, which is on disk
 *   on_iommufd               the lease's iommufd is open, or its container
 *   preparation_start_parts  of devices that join a lease it begins here
 *   on_prepared              once per part: its devices are ready, or everything of the part is undone
 *   finish_initial           all parts have ended: the lease is ACTIVE and the caller told; or what did succeed goes back
 *   finish_join              or so, of devices that join
 */

static void unlink_preparation(Preparation *p) {
        Preparation **link = &p->run->preparations;

        while (*link != p)
                link = &(*link)->next;
        *link = p->next;
}

/* Tells the caller how it ended, once, and ends the preparation. */
static void answer(Preparation *p, Lease *l) {
        unlink_preparation(p);
        p->done(l, l ? &p->devices : NULL, p->failure.error_name, p->failure.text, p->userdata);
        free(p);
}

static void open_nodes(Preparation *p) {
        Lease *l = p->run->lease;
        int group, r;

        if (p->failure.set || l->hand_over != HAND_OVER_NODE)
                return;
        /* On disk first: what can be opened may be used, whatever happens from here on. */
        for (size_t i = 0; i < l->n_devices; i++)
                handout_take_group(l, l->devices[i].group);
        run_save(p->run);
        r = node_grant(p->run->broker, l, &group);
        if (r == -EOPNOTSUPP)
                blame_text(&p->failure, ERROR_FAILED,
                           "cannot let uid %u open /dev/vfio/%d: this kernel lacks CONFIG_TMPFS_POSIX_ACL; "
                           "ask for group",
                           l->uid, group);
        else if (r < 0)
                blame_text(&p->failure, ERROR_FAILED, "cannot let uid %u open /dev/vfio/%d: %s", l->uid, group,
                           strerror(-r));
}

static void close_gate(Preparation *p) {
        int r = enforce_lease(p->run, p->initial);

        if (r < 0)
                blame_text(&p->failure, ERROR_FAILED, "the kernel cannot hold the lease to its PASIDs: %s",
                           strerror(-r));
}

static void finish_initial(Preparation *p) {
        LeaseRun *run = p->run;
        Broker *b = run->broker;
        Lease *l = run->lease;

        if (!p->failure.set && !isempty(run->end_reason))
                blame_text(&p->failure, ERROR_FAILED, "the lease was ended before it was ready: %s", run->end_reason);
        open_nodes(p);
        if (!p->failure.set) {
                ledger_activate(&b->ledger, l);
                close_gate(p);
        }
        if (p->failure.set) {
                answer(p, NULL);
                l->restore = true; /* nothing was lent, so everything goes back whatever was asked for the end */
                release_begin(b, l, isempty(run->end_reason) ? "the acquisition failed" : run->end_reason);
                return;
        }
        run_save(run);
        journal_granted(l);
        broker_lease_changed(b, l);
        b->hooks->worker_done(b, l);
        answer(p, l);
}

/* What failed to join is out of the lease again, or parked if its group is the lease's, or on its way out. */
static void expel(LeaseRun *run, const Preparation *p) {
        AddressList gone = {};

        for (size_t i = 0; i < p->devices.n; i++) {
                Address a = p->devices.items[i];
                LeaseDevice *d = lease_device(run->lease, a);

                if (d->released && (!address_list_has(&p->stays, a) || address_list_has(&p->fresh, a)))
                        (void) address_list_add(&gone, a);
                else if (d->released) {
                        d->released = false;
                        d->role = ROLE_PARKED;
                        d->opened = d->closed = d->taken = false;
                } else
                        d->leaving = d->closed = true;
        }
        leave_lease(run, &gone);
}

static void finish_join(Preparation *p) {
        LeaseRun *run = p->run;
        Broker *b = run->broker;
        Lease *l = run->lease;

        if (!p->failure.set && l->state != LEASE_ACTIVE)
                blame_text(&p->failure, ERROR_FAILED, "the lease ended before the devices were ready: %s", l->reason);
        for (size_t i = 0; i < p->devices.n; i++) {
                LeaseDevice *d = lease_device(l, p->devices.items[i]);

                ledger_joined(l, d);
                /* It was proven free of those who were to get it, and not of those who had it before in this lease. */
                if (l->state != LEASE_ACTIVE && !address_list_has(&p->fresh, d->address))
                        d->released = d->released && !address_list_has(&p->stays, d->address);
        }
        if (!p->failure.set)
                close_gate(p);
        if (p->failure.set && l->state == LEASE_ACTIVE)
                expel(run, p);
        ledger_update(&b->ledger, l);
        run_save(run);
        for (size_t i = 0; p->failure.set && i < l->n_devices; i++)
                reread_device(b, l->devices[i].address);
        broker_lease_changed(b, l);
        if (!p->failure.set)
                journal_granted(l);
        answer(p, p->failure.set ? NULL : l);
        b->hooks->worker_done(b, l);
        (void) keep_update(run);
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
        taken_settle(run->broker, job);
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

/* That of the members that the client has; 0 if he has none. */
static uint32_t table_of_group(const LeaseRun *run, int group) {
        for (size_t i = 0; i < run->lease->n_devices; i++) {
                const LeaseDevice *d = &run->lease->devices[i];

                if (d->role == ROLE_LEASED && d->group == group && wait_may_be_open(run, d) && !d->released)
                        return d->pt;
        }
        return 0;
}

static int start_worker(LeasePart *part) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        LeaseRun *run = part->run;

        if (!job)
                return -ENOMEM;
        run_make_job(run, JOB_PREPARE, is_prepared_by, part, job);
        job->force_in_use = part->preparation->force_in_use;
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];

                d->stays = address_list_has(&part->preparation->stays, d->lease.address);
                d->fresh = address_list_has(&part->preparation->fresh, d->lease.address);
                d->lease.pt = table_of_group(run, d->lease.group);
        }
        return taken_start(run->broker, job, on_prepared, part, &part->task);
}

static void on_anchors_closed(Job *job, void *userdata);

/* A parked device that a lease with reset-set keeps bound could not be bound by its new holder: that one is let go of first. */
static int start_part(LeasePart *part) {
        int r = keep_close(part, is_prepared_by, on_anchors_closed);

        return r == 0 ? start_worker(part) : r;
}

/* A part that was not begun has nothing to undo. */
static void give_up_part(LeaseRun *run, LeasePart *part) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                if (is_prepared_by(run, i, part))
                        run->lease->devices[i].released = true;
        part->preparation = NULL;
}

static void fail(Preparation *p, int r, const char *what) {
        bool busy = r == -EWOULDBLOCK;

        if (!p->failure.set)
                blame_text(&p->failure, busy ? ERROR_DEVICE_BUSY : ERROR_FAILED, "%s: %s%s", what, strerror(-r),
                           busy ? "; a worker is still at work on the device, try again later" : "");
}

static void on_anchors_closed(_unused_ Job *job, void *userdata) {
        LeasePart *part = userdata;
        Preparation *p = part->preparation;
        int r;

        part->task = NULL;
        r = start_worker(part);
        if (r >= 0)
                return;
        fail(p, r, "cannot start a worker");
        give_up_part(part->run, part);
        finish(p);
}

void preparation_start_parts(Preparation *p) {
        LeaseRun *run = p->run;

        for (LeasePart *part = run->parts; part; part = part->next) {
                int r = 0;

                if (part->preparation != p)
                        continue;
                if (!p->failure.set)
                        r = start_part(part);
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
                fail(p, job->result,
                     job->hand_over == HAND_OVER_GROUP ? "cannot open /dev/vfio/vfio" : "cannot open /dev/iommu");
        run->iommufd = TAKE_FD(job->iommufd);
        run->ioas = job->ioas;
        preparation_start_parts(p);
}

static bool is_none(_unused_ const LeaseRun *run, _unused_ size_t i, _unused_ const void *userdata) {
        return false; /* the iommufd needs no device, and so no lock */
}

void preparation_begin(Preparation *p) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        LeaseRun *run = p->run;
        int r = -ENOMEM;

        if (run->lease->hand_over == HAND_OVER_NONE || run->lease->hand_over == HAND_OVER_NODE) {
                preparation_start_parts(p);
                return;
        }
        if (job) {
                run_make_job(run, JOB_IOMMUFD, is_none, NULL, job);
                r = task_start(run->broker->tasks, job, on_iommufd, p, &run->open_task);
        }
        if (r < 0) {
                fail(p, r, "cannot start a worker");
                preparation_start_parts(p);
        }
}

int preparation_new(LeaseRun *run, const Plan *plan, bool initial, acquire_done_t done, void *userdata,
                    Preparation **ret) {
        Preparation *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        p->run = run;
        p->initial = initial;
        p->force_in_use = plan->force_in_use;
        p->done = done;
        p->userdata = userdata;
        p->next = run->preparations;
        run->preparations = p;
        *ret = p;
        return 0;
}

void preparation_add(Preparation *p, Address a) {
        LeaseRun *run = p->run;

        (void) address_list_add(&p->devices, a);
        run->devices[run_index(run, lease_device(run->lease, a))].part->preparation = p;
}

void preparation_forget(Preparation *p) {
        for (LeasePart *part = p->run->parts; part; part = part->next)
                if (part->preparation == p)
                        part->preparation = NULL;
        unlink_preparation(p);
        free(p);
}
