/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <syslog.h>

#include "broker/release.h"
#include "system/journal.h"
#include "util/fd.h"
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

static bool is_ending(const LeaseRun *run) {
        return run->lease->state == LEASE_RELEASING;
}

/* Is it to go, and can it be tried? */
static bool can_go(const LeaseRun *run, const LeaseDevice *d) {
        return (is_ending(run) || d->leaving) && !may_be_open(d);
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

static bool part_is_open(const LeaseRun *run, const LeasePart *part) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                if (run->devices[i].part == part && may_be_open(&run->lease->devices[i]))
                        return true;
        return false;
}

/* Which devices of a part go now: at the end of the lease all of them and together; before, those that leave, and with the last of
 * a group what was parked or held for it. */
static bool goes(const LeaseRun *run, size_t i, const void *userdata) {
        const LeaseDevice *d = &run->lease->devices[i];
        const LeasePart *part = userdata;

        if (run->devices[i].part != part || d->released)
                return false;
        if (is_ending(run))
                return !part_is_open(run, part);
        return d->role == ROLE_LEASED ? can_go(run, d) : group_ends(run, d->group);
}

static void on_iommufd_closed(_unused_ Job *job, _unused_ void *userdata) {
}

/* With the last copy of an iommufd the kernel unpins all memory that was mapped through it: not in the event loop. */
static void close_iommufd(LeaseRun *run) {
        _cleanup_free_ Job *job = run->iommufd >= 0 ? calloc(1, sizeof(*job)) : NULL;
        Task *task;

        if (!job)
                return;
        job->kind = JOB_CLOSE;
        job->inotify_fd = -EBADF;
        job->iommufd = TAKE_FD(run->iommufd);
        if (task_start(run->broker->tasks, job, on_iommufd_closed, NULL, &task) < 0)
                journal_log(LOG_WARNING, "Lease %s: its iommufd was closed without a worker", run->lease->id);
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
        close_iommufd(run);
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

static void note_broken(LeaseRun *run, LeaseDevice *d, const JobDevice *jd) {
        char why[200];

        (void) snprintf(why, sizeof(why), "after lease %.8s the kernel refused to %s (%s): %s", run->lease->id,
                        step_to_string(jd->step), isempty(d->original_driver) ? "no driver" : d->original_driver,
                        strerror(-jd->error));
        ledger_device_broken(&run->broker->ledger, run->lease, d, why);
        journal_device_broken(run->lease, d, why);
}

/* The device has left its holder, and its group stays: it is parked, and can be added again. */
static void note_parked(LeaseRun *run, LeaseDevice *d) {
        Device *device = inventory_device(&run->broker->ledger.inventory, d->address);

        watch_remove(run->broker->watch, d->watch);
        d->watch = -1;
        d->role = ROLE_PARKED;
        d->opened = d->closed = d->taken = d->leaving = d->released = false;
        if (device)
                device->reason[0] = '\0';
}

/* Somebody was seen to have it open, so the hint that it was closed was wrong: a device that left by itself stays, one that was asked
 * to leave goes on waiting. */
static void note_held(LeaseRun *run, LeaseDevice *d) {
        if (is_ending(run) || d->role != ROLE_LEASED || !d->leaving)
                return;
        d->closed = false;
        d->leaving = run->devices[run_index(run, d)].asked;
}

static void note_device_result(LeaseRun *run, const JobDevice *jd, bool held) {
        LeaseDevice *d = lease_device(run->lease, jd->lease.address);
        Ledger *ledger = &run->broker->ledger;

        if (held)
                note_held(run, d);
        else if (!jd->lease.released)
                note_unreleased(run, jd);
        else if (jd->stays && jd->error >= 0)
                note_parked(run, d);
        else {
                ledger_device_released(ledger, run->lease, d);
                if (jd->error < 0)
                        note_broken(run, d, jd);
                else
                        journal_device_returned(run->lease, d, d->original_driver);
                if (is_ending(run))
                        return;
                run_drop_device(run, jd->lease.address);
                broker_refresh(run->broker, jd->lease.address);
        }
}

static void arm_timer(LeaseRun *run);

static void on_restored(Job *job, void *userdata) {
        LeasePart *part = userdata;
        LeaseRun *run = part->run;
        bool held = job->result == -EBUSY;

        part->task = NULL;
        run_take_results(run, job);
        for (size_t i = 0; i < job->n_devices; i++)
                note_device_result(run, &job->devices[i], held);
        if (job->result < 0 && !held)
                journal_log(LOG_WARNING, "Lease %s: %s: cannot %s: %s", run->lease->id,
                            ADDRESS(job->devices[job->failed].lease.address),
                            step_to_string(job->devices[job->failed].step), strerror(-job->result));
        ledger_update(&run->broker->ledger, run->lease);
        run_save(run);
        broker_lease_changed(run->broker, run->lease);
        if (job->result < 0)
                arm_timer(run); /* not at once again */
        else
                release_continue(run);
}

static int restore_part(LeaseRun *run, LeasePart *part) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));

        if (!job)
                return -ENOMEM;
        run_make_job(run, JOB_RESTORE, goes, part, job);
        for (size_t i = 0; i < job->n_devices; i++)
                job->devices[i].stays = !is_ending(run) && !group_ends(run, job->devices[i].lease.group);
        return job->n_devices == 0 ? 0 : task_start(run->broker->tasks, job, on_restored, part, &part->task);
}

static void describe_holders(const Holders *holders, char *buf, size_t size) {
        for (size_t i = 0; i < holders->n; i++)
                text_append(buf, size, "%s pid %d (%s, uid %u)", i > 0 ? "," : "", holders->holders[i].pid,
                            holders->holders[i].name, holders->holders[i].uid);
}

/* What the device waits for, for its StateReason. */
static void describe_wait(LeaseRun *run, size_t i) {
        const LeaseDevice *ld = &run->lease->devices[i];
        const LeasePart *part = run->devices[i].part;
        const Job *job = part->task ? task_progress(part->task) : NULL;
        Device *d = device_of(run, i);

        if (!d || d->state != DEVICE_RELEASING || ld->released)
                return;
        d->reason[0] = '\0';
        if (run->devices[i].holders.n > 0) {
                text_append(d->reason, sizeof(d->reason), "still open in");
                describe_holders(&run->devices[i].holders, d->reason, sizeof(d->reason));
        } else if (may_be_open(ld))
                text_append(
                        d->reason, sizeof(d->reason),
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

/* Our own copies go first. A worker closes them, since ours may be the last and the kernel then resets the device. Returns 1 if that
 * has begun, 0 if there are none. */
static int close_part(LeaseRun *run, LeasePart *part) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));

        if (!job)
                return -ENOMEM;
        run_make_job(run, JOB_CLOSE, is_to_be_closed, part, job);
        job->iommufd = -EBADF;
        if (job->n_devices == 0)
                return 0;
        for (size_t i = 0; i < job->n_devices; i++) {
                LeaseDevice *d = lease_device(run->lease, job->devices[i].lease.address);

                job->devices[i].fd = TAKE_FD(run->devices[run_index(run, d)].fd);
        }
        return task_start(run->broker->tasks, job, on_part_closed, part, &part->task) < 0 ? 0 : 1;
}

/* Is there anything that has yet to go? */
static bool is_waiting(const LeaseRun *run) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                if ((is_ending(run) || run->lease->devices[i].leaving) && !run->lease->devices[i].released)
                        return true;
        return false;
}

/* What the devices of a part wait for, until somebody has looked closer. */
static void note_waiting(LeaseRun *run, const LeasePart *part, const char *what) {
        for (size_t i = 0; i < run->lease->n_devices; i++) {
                Device *d = device_of(run, i);

                if (run->devices[i].part == part && d && d->state == DEVICE_RELEASING && isempty(d->reason))
                        text_append(d->reason, sizeof(d->reason), "%s", what);
        }
}

void release_continue(LeaseRun *run) {
        if (is_ending(run) && lease_all_released(run->lease)) {
                /* Somebody may still be looking for its holders: then the end comes with his answer. */
                if (!run->holders_task)
                        end_lease(run);
                return;
        }
        for (LeasePart *part = run->parts; part; part = part->next) {
                int r;

                if (part->task || part->preparation)
                        continue;
                r = close_part(run, part);
                if (r == 0)
                        r = restore_part(run, part);
                /* It will be waited for. */
                if (r == -EWOULDBLOCK)
                        note_waiting(run, part,
                                     "a worker of an earlier iommud is still at work on it, stuck in the kernel");
                else if (r < 0)
                        journal_log(LOG_ERR, "Lease %s: cannot start a worker: %s", run->lease->id, strerror(-r));
        }
        for (LeasePart *part = run->parts; part; part = part->next)
                if (!part->task && part_is_open(run, part))
                        note_waiting(run, part, "a descriptor of it is still open");
        if (is_waiting(run))
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
        run->lifeline_write = fd_close(run->lifeline_write);
        broker_lease_changed(b, l);
        release_continue(run);
}

void release_devices(Broker *b, Lease *l, const AddressList *devices) {
        LeaseRun *run = run_find(b, l);

        for (size_t i = 0; i < devices->n; i++) {
                LeaseDevice *d = lease_device(l, devices->items[i]);
                RunDevice *rd = &run->devices[run_index(run, d)];

                d->leaving = rd->asked = true;
        }
        ledger_update(&b->ledger, l);
        run_save(run);
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
                r = sd_event_add_time_relative(b->event, &run->revoke_timer, CLOCK_MONOTONIC, deadline_usec, 0,
                                               on_deadline, run);
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
                        /* Closing the descriptor is leaving. After a loss that cannot be told from being used. */
                        if (wd >= 0 && d->taken && run->lease->state == LEASE_ACTIVE)
                                d->leaving = true;
                        hit = true;
                }
                if (!hit)
                        continue;
                ledger_update(&b->ledger, run->lease);
                run_save(run);
                broker_lease_changed(b, run->lease);
                release_continue(run);
        }
}
