/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <syslog.h>

#include "broker/enforce.h"
#include "broker/keep.h"
#include "broker/leave.h"
#include "broker/node.h"
#include "broker/quota.h"
#include "broker/release.h"
#include "broker/reread.h"
#include "broker/taken.h"
#include "broker/wait.h"
#include "core/resetset.h"
#include "system/journal.h"
#include "util/fd.h"
#include "util/text.h"

/* While a release waits, it looks who is still there: after a second, then less and less often. */
#define LOOK_FIRST_USEC UINT64_C(1000000)
#define LOOK_LAST_USEC  UINT64_C(30000000)

static bool is_ending(const LeaseRun *run) {
        return lease_is_ending(run->lease);
}

/* Is it to go, and can it be tried? */
static bool can_go(const LeaseRun *run, const LeaseDevice *d) {
        return (is_ending(run) || d->leaving) && !wait_may_be_open(run, d);
}

/* Nothing of the group is handed out any more, and something of it leaves: then it goes back to the host as a whole. */
static bool group_ends(const LeaseRun *run, int group) {
        bool leaving = false;

        for (size_t i = 0; i < run->lease->n_devices; i++) {
                const LeaseDevice *d = &run->lease->devices[i];

                if (d->group != group || d->role != ROLE_LEASED)
                        continue;
                if (!can_go(run, d))
                        return false;
                leaving = true;
        }
        return leaving || is_ending(run);
}

/* Which devices of a part go now: at the end of the lease all of them and together; before, those that leave, and with the last of
 * a group what was parked or held for it. */
static bool goes(const LeaseRun *run, size_t i, const void *userdata) {
        const LeaseDevice *d = &run->lease->devices[i];
        const LeasePart *part = userdata;

        if (run->devices[i].part != part || d->released)
                return false;
        if (is_ending(run))
                return !wait_is_part_open(run, part);
        return d->role == ROLE_LEASED ? can_go(run, d) : group_ends(run, d->group);
}

static void end_lease(LeaseRun *run) {
        Broker *b = run->broker;
        Lease *l = run->lease;
        _cleanup_free_ LeaseDevice *devices = calloc(l->n_devices + 1, sizeof(*devices));
        /* Who held up one that was broken has let go. */
        const char *reason = l->state == LEASE_BROKEN ? run->revoke_reason : l->reason;
        size_t n = l->n_devices;

        for (size_t i = 0; i < n; i++) {
                watch_remove(b->watch, l->devices[i].watch);
                if (devices)
                        devices[i] = l->devices[i];
        }
        journal_lease_ended(l, reason);
        if (b->listener)
                b->listener->lease_ended(l, reason, b->listener_userdata);
        store_remove_lease(&b->store, l->id);
        enforce_end(run);
        task_close(b->tasks, TAKE_FD(run->iommufd));
        (void) keep_update(run);
        run_free(run);
        ledger_close(&b->ledger, l);
        quota_publish(b);
        for (size_t i = 0; devices && i < n; i++) {
                broker_note_forgotten(b, devices[i].address, devices[i].group);
                reread_device(b, devices[i].address);
        }
}

static void note_broken(LeaseRun *run, LeaseDevice *d, const JobDevice *jd) {
        char why[200];

        (void) snprintf(why, sizeof(why), "after lease %.8s the kernel refused to %s (%s): %s", run->lease->id,
                        step_to_string(jd->step), isempty(d->original_driver) ? "no driver" : d->original_driver,
                        strerror(-jd->error));
        ledger_device_broken(&run->broker->ledger, run->lease, d, why);
        journal_device_broken(run->lease, d, why);
}

/* Whatever it waited for, it does not any more. */
static void forget_look(RunDevice *rd) {
        rd->holders = (Holders) {};
        rd->looked = false;
        rd->refusal = 0;
}

/* The device has left its holder, and its group stays: it is parked, and can be added again. */
static void note_parked(LeaseRun *run, LeaseDevice *d) {
        Device *device = inventory_device(&run->broker->ledger.inventory, d->address);

        watch_remove(run->broker->watch, d->watch);
        d->watch = -1;
        d->role = ROLE_PARKED;
        d->opened = d->closed = d->taken = d->leaving = d->asked = d->pulled = d->released = false;
        forget_look(&run->devices[run_index(run, d)]);
        if (!device)
                return;
        device->reason[0] = '\0';
        ledger_device_let_go(&run->broker->ledger, run->lease, d);
}

/* Somebody was seen to have it open, so the hint that it was closed was wrong: a device that left by itself stays, one that was asked
 * to leave goes on waiting. */
static void note_held(LeaseRun *run, LeaseDevice *d) {
        RunDevice *rd = &run->devices[run_index(run, d)];
        Device *device = inventory_device(&run->broker->ledger.inventory, d->address);

        rd->refusal = 0;
        if (is_ending(run) || d->role != ROLE_LEASED || !d->leaving)
                return;
        /* Closed again while the worker looked, or not watched any more: then the timer tries again. */
        d->closed = rd->hinted || d->watch < 0;
        d->leaving = d->asked || rd->hinted;
        if (d->leaving)
                return;
        forget_look(rd);
        if (device)
                device->reason[0] = '\0';
}

/* What could not be reset carries traces of this lease; what was reset with its whole set carries none of anybody. */
static void note_clean(LeaseRun *run, const JobDevice *jd) {
        Broker *b = run->broker;
        Device *d = inventory_device(&b->ledger.inventory, jd->lease.address), *other;

        if (!d || d->gone || !jd->used || !jd->lease.released)
                return;
        INVENTORY_FOREACH_DEVICE (&b->ledger.inventory, other) {
                if (!jd->clean || (other != d && !(jd->set_idle && resetset_has(d, other))))
                        continue;
                other->unclean = false;
                broker_keep_mark(b, other);
        }
        if (jd->clean)
                return;
        d->unclean = true;
        d->unclean_of = run->lease->uid;
        broker_keep_mark(b, d);
}

/* It stays the lease's, and is tried again. Only what is new is worth a line. */
static void note_refused(LeaseRun *run, const LeaseDevice *d, const JobDevice *jd) {
        RunDevice *rd = &run->devices[run_index(run, d)];

        if (jd->error < 0 && (rd->refused != jd->step || rd->refusal != jd->error))
                journal_log(LOG_WARNING, "Lease %s: %s: cannot %s: %s", run->lease->id, ADDRESS(d->address),
                            step_to_string(jd->step), strerror(-jd->error));
        rd->refused = jd->step;
        rd->refusal = jd->error;
}

static void note_device_result(LeaseRun *run, const JobDevice *jd, bool held, AddressList *gone) {
        LeaseDevice *d = lease_device(run->lease, jd->lease.address);
        Ledger *ledger = &run->broker->ledger;

        note_clean(run, jd);
        if (held)
                note_held(run, d);
        else if (!jd->lease.released)
                note_refused(run, d, jd);
        else if (jd->stays && jd->error >= 0)
                note_parked(run, d);
        else {
                ledger_device_released(ledger, run->lease, d);
                if (jd->error < 0)
                        note_broken(run, d, jd);
                else
                        journal_device_returned(run->lease, d, d->original_driver);
                if (!is_ending(run))
                        (void) address_list_add(gone, jd->lease.address);
        }
}

/* A worker that died may have proven it free and not given it back: that is tried again. What it has reset carries no traces any more,
 * although it may be back on its driver and cannot be reset again. */
static void note_unfinished(LeaseRun *run, JobDevice *jd) {
        jd->lease.released = false;
        if (jd->clean)
                lease_device(run->lease, jd->lease.address)->taken = false;
}

static void arm_timer(LeaseRun *run);

/* Ends a revoked lease whose client has let go of the last device. Returns true if it did; the run may be gone then. */
static bool end_if_empty(LeaseRun *run) {
        Lease *l = run->lease;

        if (l->state != LEASE_ACTIVE || l->revoke_deadline == 0)
                return false;
        for (size_t i = 0; i < l->n_devices; i++)
                if (l->devices[i].role == ROLE_LEASED)
                        return false;
        release_begin(run->broker, l, run->revoke_reason);
        return true;
}

/* What the kernel refused is told by device; the worker itself may have failed, too. */
static void log_failure(const LeaseRun *run, const Job *job) {
        for (size_t i = 0; i < job->n_devices && job->result != -ECHILD; i++)
                if (job->devices[i].error < 0)
                        return;
        journal_log(LOG_WARNING,
                    "Lease %s: the worker that was to release its devices failed, another one will try: %s",
                    run->lease->id, job->result == -ECHILD ? "it was killed" : strerror(-job->result));
}

/* Is there anything that has yet to go? */
static bool is_waiting(const LeaseRun *run) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                if (run_has_to_go(run, i))
                        return true;
        return false;
}

static void on_restored(Job *job, void *userdata) {
        LeasePart *part = userdata;
        LeaseRun *run = part->run;
        bool held = job->result == -EBUSY;
        AddressList gone = {};

        part->task = NULL;
        taken_settle(run->broker, job);
        for (size_t i = 0; i < job->n_devices && job->result == -ECHILD; i++)
                note_unfinished(run, &job->devices[i]);
        run_take_results(run, job);
        for (size_t i = 0; i < job->n_devices; i++)
                note_device_result(run, &job->devices[i], held, &gone);
        leave_lease(run, &gone);
        (void) keep_update(run);
        if (job->result < 0 && !held)
                log_failure(run, job);
        ledger_update(&run->broker->ledger, run->lease);
        wait_describe(run);
        (void) enforce_update(run);
        run_save(run);
        broker_lease_changed(run->broker, run->lease);
        if (job->result < 0 && is_waiting(run)) {
                run->broker->hooks->worker_done(run->broker, run->lease);
                arm_timer(run); /* not at once again */
        } else if (!end_if_empty(run)) {
                run->broker->hooks->worker_done(run->broker, run->lease);
                release_continue(run);
        }
}

/* What the worker has to know to leave the devices clean. */
static void note_traces(const LeaseRun *run, Job *job, AddressList *going) {
        *going = (AddressList) {};
        for (size_t i = 0; i < job->n_devices; i++)
                if (!job->devices[i].stays)
                        (void) address_list_add(going, job->devices[i].lease.address);
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *jd = &job->devices[i];
                const Device *d = inventory_device(&run->broker->ledger.inventory, jd->lease.address);

                jd->used = jd->lease.taken || (d && d->unclean);
                jd->set_idle = jd->used && d && resetset_is_idle(&run->broker->ledger.inventory, d, going);
        }
}

static int restore_part(LeaseRun *run, LeasePart *part) {
        _cleanup_free_ AddressList *going = malloc(sizeof(*going));
        _cleanup_free_ Job *job = malloc(sizeof(*job));

        if (!job || !going)
                return -ENOMEM;
        run_make_job(run, JOB_RESTORE, goes, part, job);
        for (size_t i = 0; i < job->n_devices; i++)
                job->devices[i].stays = !is_ending(run) && !group_ends(run, job->devices[i].lease.group);
        note_traces(run, job, going);
        for (size_t i = 0; i < job->n_devices; i++)
                run->devices[run_index(run, lease_device(run->lease, job->devices[i].lease.address))].hinted = false;
        return job->n_devices == 0 ? 0 : taken_start(run->broker, job, on_restored, part, &part->task);
}

static void on_holders(Job *job, void *userdata) {
        LeaseRun *run = userdata;

        run->holders_task = NULL;
        if (job->result < 0)
                journal_log(LOG_WARNING, "Lease %s: cannot look who has its devices open: %s", run->lease->id,
                            strerror(-job->result));
        run_take_results(run, job);
        wait_describe(run);
        broker_lease_changed(run->broker, run->lease);
        release_continue(run);
}

static bool is_any(_unused_ const LeaseRun *run, _unused_ size_t i, _unused_ const void *userdata) {
        return true;
}

static void look_for_holders(LeaseRun *run) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        int r = -ENOMEM;

        if (run->holders_task)
                return;
        if (job) {
                run_make_job(run, JOB_HOLDERS, is_any, NULL, job);
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
        r = sd_event_add_time_relative(run->broker->event, &run->timer, CLOCK_MONOTONIC, run->timer_interval, 0,
                                       on_timer, run);
        if (r < 0)
                journal_log(LOG_ERR, "Lease %s: no timer: %s", run->lease->id, strerror(-r));
}

/* Of which devices do we still have a descriptor that stands in the way? */
static bool is_to_be_closed(const LeaseRun *run, size_t i, const void *userdata) {
        const LeaseDevice *d = &run->lease->devices[i];

        if (run->devices[i].part != userdata || run->devices[i].fd < 0)
                return false;
        return is_ending(run) || d->leaving || (d->role != ROLE_LEASED && group_ends(run, d->group));
}

static void on_part_closed(_unused_ Job *job, void *userdata) {
        LeasePart *part = userdata;

        part->task = NULL;
        release_continue(part->run);
}

void release_continue(LeaseRun *run) {
        bool told = false;

        if (is_ending(run) && lease_all_released(run->lease)) {
                /* Somebody may still be looking for its holders: then the end comes with his answer. */
                if (!run->holders_task && !run->revoke_task && !run->ask_task)
                        end_lease(run);
                return;
        }
        for (LeasePart *part = run->parts; part; part = part->next) {
                int r;

                if (part->task || part->preparation)
                        continue;
                /* Our own copies go first. */
                r = keep_close(part, is_to_be_closed, on_part_closed);
                if (r == 0)
                        r = restore_part(run, part);
                /* It will be waited for. */
                if (r == -EWOULDBLOCK)
                        told = wait_note(
                                       run, part,
                                       "a worker is still at work on it, on its virtual functions or on what is reset "
                                       "with it, maybe an earlier iommud's") ||
                               told;
                else if (r < 0)
                        journal_log(LOG_ERR, "Lease %s: cannot start a worker: %s", run->lease->id, strerror(-r));
        }
        for (LeasePart *part = run->parts; part; part = part->next)
                if (!part->task && wait_is_part_open(run, part))
                        told = wait_note(run, part, WAIT_OPEN) || told;
        /* Once, however many parts there are: it is told of each device. */
        if (told)
                broker_lease_changed(run->broker, run->lease);
        if (is_waiting(run))
                arm_timer(run);
        else
                run->timer_interval = 0;
}

void release_begin(Broker *b, Lease *l, const char *reason) {
        LeaseRun *run = run_find(b, l);

        if (!run || is_ending(run))
                return;
        if (l->state == LEASE_PREPARING && run_is_busy(run)) {
                /* The workers go on: they cannot be stopped between two steps without leaving a mess. */
                text_append(run->end_reason, sizeof(run->end_reason), "%s", isempty(run->end_reason) ? reason : "");
                return;
        }
        ledger_begin_release(&b->ledger, l, reason);
        (void) enforce_update(run);
        b->hooks->release_began(run);
        run_save(run);
        journal_log(LOG_INFO, "Lease %s: releasing, %s", l->id, reason);
        run->lifeline = lifeline_free(run->lifeline);
        run->lifeline_write = fd_close(run->lifeline_write);
        if (l->hand_over == HAND_OVER_NODE)
                node_revoke(b, l);
        broker_lease_changed(b, l);
        release_continue(run);
}

void release_devices(Broker *b, Lease *l, const AddressList *devices) {
        LeaseRun *run = run_find(b, l);

        for (size_t i = 0; i < devices->n; i++) {
                LeaseDevice *d = lease_device(l, devices->items[i]);

                if (d->role == ROLE_LEASED)
                        d->leaving = d->asked = true;
        }
        ledger_update(&b->ledger, l);
        run_save(run);
        broker_lease_changed(b, l);
        release_continue(run);
}

/* Returns true if that changes anything for the device. */
static bool note_closed(LeaseRun *run, size_t i, int wd) {
        LeaseDevice *d = &run->lease->devices[i];
        bool node = run->lease->hand_over == HAND_OVER_NODE;
        bool leaves = wd >= 0 && d->taken && !d->leaving && run->lease->state == LEASE_ACTIVE &&
                      !hand_over_is_legacy(run->lease->hand_over);

        if (!d->opened || (wd >= 0 && d->watch != wd))
                return false;
        if (wd >= 0)
                run->devices[i].hinted = true;
        if (node && !is_ending(run))
                return false; /* it can be opened again */
        if (d->closed && !leaves)
                return false;
        /* After a loss each may be: then /proc has to tell, before the unbind does (see restore_run). */
        d->closed = !node;
        /* Closing the descriptor is leaving. After a loss that cannot be told from being used. */
        d->leaving = d->leaving || leaves;
        return true;
}

void release_note_closed(Broker *b, int wd) {
        LeaseRun *run = b->runs, *next;

        for (; run; run = next) {
                bool hit = false;

                next = run->next;
                for (size_t i = 0; i < run->lease->n_devices; i++)
                        hit = note_closed(run, i, wd) || hit;
                if (!hit)
                        continue;
                ledger_update(&b->ledger, run->lease);
                run_save(run);
                broker_lease_changed(b, run->lease);
                release_continue(run);
        }
}
