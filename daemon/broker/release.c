/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <syslog.h>

#include "broker/release.h"
#include "system/journal.h"
#include "util/text.h"

/* While a release waits, it looks who is still there: after a second, then less and less often. */
#define LOOK_FIRST_USEC UINT64_C(1000000)
#define LOOK_LAST_USEC  UINT64_C(30000000)
/* A worker that takes longer than this is worth a word. */
#define STUCK_USEC UINT64_C(3000000)

static Device *device_of(const LeaseRun *run, size_t i) {
        return inventory_device(&run->broker->ledger.inventory, run->lease->devices[i].address);
}

/* Could somebody still have a descriptor of it, as far as we know? */
static bool may_be_open(const LeaseDevice *d) {
        return d->opened && !d->closed;
}

static bool part_is_ready(const LeaseRun *run, size_t part) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                if (run->part_of[i] == part && may_be_open(&run->lease->devices[i]))
                        return false;
        return true;
}

static void end_lease(LeaseRun *run) {
        Broker *b = run->broker;
        Lease *l = run->lease;
        _cleanup_free_ Address *addresses = calloc(l->n_devices + 1, sizeof(Address));
        size_t n = l->n_devices;

        for (size_t i = 0; i < n; i++) {
                watch_remove(b->watch, l->devices[i].watch);
                if (addresses)
                        addresses[i] = l->devices[i].address;
        }
        journal_lease_ended(l, l->reason);
        if (b->listener)
                b->listener->lease_ended(l, l->reason, b->listener_userdata);
        store_remove_lease(&b->store, l->id);
        run_free(run);
        ledger_close(&b->ledger, l);
        for (size_t i = 0; addresses && i < n; i++)
                broker_refresh(b, addresses[i]);
}

/* It stays the lease's; the next look tries again. */
static void note_unreleased(LeaseRun *run, const JobDevice *jd) {
        Device *d = inventory_device(&run->broker->ledger.inventory, jd->lease.address);

        if (!d || jd->error >= 0)
                return;
        d->reason[0] = '\0';
        text_append(d->reason, sizeof(d->reason), "cannot %s: %s", step_to_string(jd->step), strerror(-jd->error));
}

static void note_device_result(LeaseRun *run, const JobDevice *jd) {
        Broker *b = run->broker;
        LeaseDevice *d = lease_device(run->lease, jd->lease.address);
        char why[200];

        if (!jd->lease.released) {
                note_unreleased(run, jd);
                return;
        }
        ledger_device_released(&b->ledger, run->lease, d);
        if (jd->error < 0) {
                (void) snprintf(why, sizeof(why), "after lease %.8s the kernel refused to %s (%s): %s", run->lease->id,
                                step_to_string(jd->step),
                                isempty(d->original_driver) ? "no driver" : d->original_driver, strerror(-jd->error));
                ledger_device_broken(&b->ledger, run->lease, d, why);
                journal_device_broken(run->lease, d, why);
        } else
                journal_device_returned(run->lease, d, d->original_driver);
}

static void arm_timer(LeaseRun *run);

static void on_restored(Job *job, void *userdata) {
        LeasePart *part = userdata;
        LeaseRun *run = part->run;

        part->task = NULL;
        run_take_results(run, job);
        part->done = true;
        for (size_t i = 0; i < job->n_devices; i++) {
                note_device_result(run, &job->devices[i]);
                part->done = part->done && job->devices[i].lease.released;
        }
        run_save(run);
        if (!part->done && job->result != -EBUSY)
                journal_log(LOG_WARNING, "Lease %s: %s cannot be released yet (%s: %s)", run->lease->id,
                            ADDRESS(job->devices[job->failed < job->n_devices ? job->failed : 0].lease.address),
                            step_to_string(job->devices[job->failed < job->n_devices ? job->failed : 0].step),
                            strerror(-job->result));
        if (lease_all_released(run->lease)) {
                end_lease(run);
                return;
        }
        broker_lease_changed(run->broker, run->lease);
        if (!part->done)
                arm_timer(run);
}

static int restore_part(LeaseRun *run, size_t i) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));

        if (!job)
                return -ENOMEM;
        run_make_job(run, JOB_RESTORE, i, job);
        return task_start(run->broker->tasks, job, on_restored, &run->parts[i], &run->parts[i].task);
}

static void describe_holders(const Holders *holders, char *buf, size_t size) {
        for (size_t i = 0; i < holders->n; i++)
                text_append(buf, size, "%s pid %d (%s, uid %u)", i > 0 ? "," : "", holders->holders[i].pid,
                            holders->holders[i].name, holders->holders[i].uid);
}

/* What the device waits for, for its StateReason. */
static void describe_wait(LeaseRun *run, size_t i) {
        const LeaseDevice *ld = &run->lease->devices[i];
        const LeasePart *part = &run->parts[run->part_of[i]];
        const Job *job = part->task ? task_progress(part->task) : NULL;
        Device *d = device_of(run, i);

        if (!d || ld->released || d->state == DEVICE_BROKEN)
                return;
        d->reason[0] = '\0';
        if (run->holders[i].n > 0) {
                text_append(d->reason, sizeof(d->reason), "still open in");
                describe_holders(&run->holders[i], d->reason, sizeof(d->reason));
        } else if (may_be_open(ld))
                text_append(d->reason, sizeof(d->reason),
                            "a descriptor of it is still open, in no process that can be seen (on its way over a socket?)");
        else if (job && task_age(part->task) > STUCK_USEC)
                for (size_t j = 0; j < job->n_devices; j++)
                        if (address_equal(job->devices[j].lease.address, ld->address))
                                text_append(d->reason, sizeof(d->reason), "a worker has been trying to %s for %llu s",
                                            step_to_string(job->devices[j].step),
                                            (unsigned long long) (task_age(part->task) / 1000000));
}

static void on_holders(Job *job, void *userdata) {
        LeaseRun *run = userdata;

        run->holders_task = NULL;
        if (job->result < 0)
                journal_log(LOG_WARNING, "Lease %s: cannot look who has its devices open: %s", run->lease->id,
                            strerror(-job->result));
        run_take_results(run, job);
        for (size_t i = 0; i < run->lease->n_devices; i++)
                describe_wait(run, i);
        broker_lease_changed(run->broker, run->lease);
}

static void look_for_holders(LeaseRun *run) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        int r = -ENOMEM;

        if (run->holders_task)
                return;
        if (job) {
                run_make_job(run, JOB_HOLDERS, SIZE_MAX, job);
                r = task_start(run->broker->tasks, job, on_holders, run, &run->holders_task);
        }
        if (r < 0)
                journal_log(LOG_WARNING, "Lease %s: cannot look who has its devices open: %s", run->lease->id,
                            strerror(-r));
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata) {
        LeaseRun *run = userdata;

        run->timer = sd_event_source_disable_unref(run->timer);
        if (run->timer_interval < LOOK_LAST_USEC)
                run->timer_interval *= 2;
        look_for_holders(run);
        release_continue(run);
        return 0;
}

static void arm_timer(LeaseRun *run) {
        int r;

        if (run->timer)
                return;
        if (run->timer_interval == 0)
                run->timer_interval = LOOK_FIRST_USEC;
        r = sd_event_add_time_relative(run->broker->event, &run->timer, CLOCK_MONOTONIC, run->timer_interval, 0, on_timer,
                                       run);
        if (r < 0)
                journal_log(LOG_ERR, "Lease %s: no timer: %s", run->lease->id, strerror(-r));
}

void release_continue(LeaseRun *run) {
        bool waiting = false;

        for (size_t i = 0; i < run->n_parts; i++) {
                LeasePart *part = &run->parts[i];
                int r;

                if (part->done)
                        continue;
                waiting = true;
                if (part->task || !part_is_ready(run, i))
                        continue;
                r = restore_part(run, i);
                /* EWOULDBLOCK: a worker of an earlier daemon is still at it, and will be waited for. */
                if (r < 0 && r != -EWOULDBLOCK)
                        journal_log(LOG_ERR, "Lease %s: cannot start a worker: %s", run->lease->id, strerror(-r));
        }
        if (waiting)
                arm_timer(run);
}

void release_begin(Broker *b, Lease *l, const char *reason) {
        LeaseRun *run = run_find(b, l);

        if (!run || l->state == LEASE_RELEASING || l->state == LEASE_BROKEN)
                return;
        if (l->state == LEASE_PREPARING && run_is_busy(run)) {
                /* The workers go on: they cannot be stopped between two steps without leaving a mess. */
                text_append(run->end_reason, sizeof(run->end_reason), "%s", isempty(run->end_reason) ? reason : "");
                return;
        }
        ledger_begin_release(&b->ledger, l, reason);
        run_save(run);
        journal_log(LOG_INFO, "Lease %s: releasing, %s", l->id, reason);
        run->lifeline = lifeline_free(run->lifeline);
        run_close_fds(run);
        for (size_t i = 0; i < run->n_parts; i++)
                if (run->parts[i].done)
                        for (size_t j = 0; j < l->n_devices; j++)
                                if (run->part_of[j] == i)
                                        ledger_device_released(&b->ledger, l, &l->devices[j]);
        if (lease_all_released(l)) {
                end_lease(run);
                return;
        }
        broker_lease_changed(b, l);
        release_continue(run);
}

static int on_deadline(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata) {
        LeaseRun *run = userdata;

        run->revoke_timer = sd_event_source_disable_unref(run->revoke_timer);
        release_begin(run->broker, run->lease, run->revoke_reason);
        return 0;
}

void release_revoke(Broker *b, Lease *l, const char *reason, uint64_t deadline_usec) {
        LeaseRun *run = run_find(b, l);
        uint64_t now, deadline;
        int r = 0;

        if (!run || l->state == LEASE_RELEASING || l->state == LEASE_BROKEN ||
            sd_event_now(b->event, CLOCK_REALTIME, &now) < 0)
                return;
        deadline = deadline_usec > UINT64_MAX - now ? UINT64_MAX : now + deadline_usec;
        if (l->revoke_deadline > 0 && l->revoke_deadline <= deadline)
                return;
        l->revoke_deadline = deadline;
        run->revoke_reason[0] = '\0';
        text_append(run->revoke_reason, sizeof(run->revoke_reason), "revoked: %s", reason);
        run_save(run);
        run->revoke_timer = sd_event_source_disable_unref(run->revoke_timer);
        if (deadline_usec > 0)
                r = sd_event_add_time_relative(b->event, &run->revoke_timer, CLOCK_MONOTONIC, deadline_usec, 0, on_deadline,
                                               run);
        if (r < 0)
                journal_log(LOG_ERR, "Lease %s: no timer for its revocation, it ends now: %s", l->id, strerror(-r));
        if (deadline_usec == 0 || r < 0)
                release_begin(b, l, run->revoke_reason);
        else
                broker_lease_changed(b, l);
}

void release_note_closed(Broker *b, int wd) {
        LeaseRun *run = b->runs, *next;

        for (; run; run = next) {
                bool hit = false;

                next = run->next;
                for (size_t i = 0; i < run->lease->n_devices; i++) {
                        LeaseDevice *d = &run->lease->devices[i];

                        /* After a loss each may be: then /proc has to tell, before the unbind does (see restore_run). */
                        if (!d->opened || d->closed || (wd >= 0 && d->watch != wd))
                                continue;
                        d->closed = true;
                        hit = true;
                        run_save(run);
                }
                if (hit && run->lease->state == LEASE_RELEASING)
                        release_continue(run);
        }
}
