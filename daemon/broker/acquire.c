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
 *   finish            all parts have ended: the lease is ACTIVE and the caller told; or what did succeed goes back
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

/* Tells the caller why it failed, once; the lease goes its way without him. */
static void answer_failure(LeaseRun *run) {
        acquire_done_t done = TAKE_PTR(run->done);

        if (done)
                done(NULL, run->failure.error_name, run->failure.text, run->done_userdata);
}

static void finish(LeaseRun *run) {
        Broker *b = run->broker;
        acquire_done_t done;

        if (run_is_busy(run))
                return;
        if (run->failure.set || !isempty(run->end_reason)) {
                if (!run->failure.set)
                        blame_text(&run->failure, "the lease was ended before it was ready: %s", run->end_reason);
                answer_failure(run);
                run->lease->restore = true; /* nothing was lent, so everything goes back whatever was asked for the end */
                release_begin(b, run->lease, isempty(run->end_reason) ? "the acquisition failed" : run->end_reason);
                return;
        }
        ledger_activate(&b->ledger, run->lease);
        run_save(run);
        for (size_t i = 0; i < run->lease->n_devices; i++)
                broker_refresh(b, run->lease->devices[i].address);
        journal_granted(run->lease);
        broker_lease_changed(b, run->lease);
        done = TAKE_PTR(run->done);
        done(run->lease, NULL, NULL, run->done_userdata);
}

static void on_prepared(Job *job, void *userdata) {
        LeasePart *part = userdata;
        LeaseRun *run = part->run;
        bool undone = true;

        part->task = NULL;
        run_take_results(run, job);
        if (job->result >= 0) {
                part->prepared = true;
                finish(run);
                return;
        }
        if (!run->failure.set)
                blame_job(run->broker, run->lease, job, &run->failure);
        /* Nothing of it was handed out, and what the worker had opened went with it. */
        for (size_t i = 0; i < job->n_devices; i++)
                lease_device(run->lease, job->devices[i].lease.address)->closed = true;
        /* A worker that died has undone nothing, and one that could not undo says so: then a release has to. */
        for (size_t i = 0; i < job->n_devices; i++)
                undone = undone && job->devices[i].lease.released;
        part->prepared = !undone;
        part->done = undone;
        finish(run);
}

static int start_parts(LeaseRun *run) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        int r;

        if (!job)
                return -ENOMEM;
        for (size_t i = 0; i < run->n_parts; i++) {
                LeasePart *part = &run->parts[i];

                run_make_job(run, JOB_PREPARE, i, job);
                r = task_start(run->broker->tasks, job, on_prepared, part, &part->task);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void fail(LeaseRun *run, int r, const char *what) {
        if (!run->failure.set) {
                blame_text(&run->failure, "%s: %s", what, strerror(-r));
                if (r == -EWOULDBLOCK)
                        blame_busy(&run->failure);
        }
        /* What was not begun needs no undoing. */
        for (size_t i = 0; i < run->n_parts; i++)
                if (!run->parts[i].task)
                        run->parts[i].done = !run->parts[i].prepared;
        finish(run);
}

static void on_iommufd(Job *job, void *userdata) {
        LeaseRun *run = userdata;
        int r;

        run->open_task = NULL;
        if (job->result >= 0 && job->iommufd < 0)
                job->result = -EIO;
        if (job->result < 0) {
                fail(run, job->result, "cannot open /dev/iommu");
                return;
        }
        run->iommufd = TAKE_FD(job->iommufd);
        run->ioas = job->ioas;
        r = start_parts(run);
        if (r < 0)
                fail(run, r, "cannot start a worker");
}

static int begin_work(LeaseRun *run) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));

        if (run->lease->hand_over == HAND_OVER_NONE)
                return start_parts(run);
        if (!job)
                return -ENOMEM;
        run_make_job(run, JOB_IOMMUFD, SIZE_MAX, job);
        job->n_devices = 0; /* it needs none, and so no lock */
        return task_start(run->broker->tasks, job, on_iommufd, run, &run->open_task);
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
        LeaseRun *run;
        int r;

        r = make_lease(plan, request, client, &l);
        if (r < 0)
                return r;
        r = run_new(b, l, &run);
        if (r < 0)
                return r;
        r = ledger_open(&b->ledger, l);
        if (r < 0) {
                run_free(run);
                return r;
        }
        TAKE_PTR(l);
        /* On disk before the first device is touched: whatever happens from here on, a restart knows what was and undoes it. */
        r = lifeline_create(&b->store, run->lease->id, &run->lifeline, &run->lifeline_write);
        if (r >= 0)
                r = lifeline_watch(run->lifeline, b->event, on_lifeline_ended, run);
        if (r >= 0)
                r = store_save_lease(&b->store, run->lease);
        if (r < 0)
                return back_out(b, run, r);
        if (b->listener)
                b->listener->lease_added(run->lease, b->listener_userdata);
        broker_lease_changed(b, run->lease);
        run->done = done;
        run->done_userdata = userdata;
        r = begin_work(run);
        if (r < 0)
                fail(run, r, "cannot start a worker");
        return 0;
}
