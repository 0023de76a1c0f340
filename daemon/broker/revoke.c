/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

#include "broker/release.h"
#include "broker/reread.h"
#include "broker/revoke.h"
#include "broker/wait.h"
#include "system/journal.h"
#include "util/text.h"

/* How long a rung has to help: a VMM that was killed has its guest's memory to give back first. */
#define GRACE_USEC UINT64_C(10000000)
/* Who ends his lease by himself has more time to close what he has. */
#define RELEASE_USEC UINT64_C(60000000)
/* A card that is gone is of no use to anybody, and the kernel locks out all hotplug of the machine until it is closed. By then it has
 * sent the device request itself. */
#define PULLED_USEC UINT64_C(2000000)

/* A worker that is at it for longer is stuck in the kernel: the last close resets a device, and so does the release, for up to 60 s. */
#define WORK_USEC UINT64_C(150000000)

static uint64_t now_usec(const Broker *b) {
        uint64_t now = 0;

        (void) sd_event_now(b->event, CLOCK_REALTIME, &now);
        return now;
}

/* Until the deadline, 0 when it is over. */
static uint64_t time_left(const LeaseRun *run) {
        uint64_t now = now_usec(run->broker);

        return run->lease->revoke_deadline > now ? run->lease->revoke_deadline - now : 0;
}

static AtDeadline policy_of(const LeaseRun *run) {
        return revoke_policy(&run->broker->config, run->lease);
}

static bool must_go(const LeaseRun *run, size_t i) {
        const LeaseDevice *d = &run->lease->devices[i];

        return !d->released && (lease_is_ending(run->lease) || d->pulled);
}

static bool any_must_go(const LeaseRun *run) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                if (must_go(run, i))
                        return true;
        return false;
}

/* What has been let go of is being released: that takes its time, and is nobody's fault. */
static bool is_stuck(const LeaseRun *run, size_t i, _unused_ const void *userdata) {
        const Task *task = run->devices[i].part->task;

        return must_go(run, i) && (!task || task_age(task) > WORK_USEC);
}

static bool any_is_stuck(const LeaseRun *run) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                if (is_stuck(run, i, NULL))
                        return true;
        return false;
}

/* --- climbing --- */

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata);

static void arm(LeaseRun *run, uint64_t in_usec) {
        int r;

        run->revoke_timer = sd_event_source_disable_unref(run->revoke_timer);
        r = sd_event_add_time_relative(run->broker->event, &run->revoke_timer, CLOCK_MONOTONIC, in_usec, 0, on_timer,
                                       run);
        if (r < 0)
                journal_log(LOG_ERR, "Lease %s: no timer for its revocation: %s", run->lease->id, strerror(-r));
}

/* Whoever is to be killed is killed at the deadline; who is only to be reported may take the end of the lease for the word. */
static void arm_for_end(LeaseRun *run) {
        bool kills = revoke_next(REVOKE_RUNG_ASK, policy_of(run)) != REVOKE_RUNG_GIVE_UP;

        run->rung = REVOKE_RUNG_ASK;
        arm(run, time_left(run) + (kills ? 0 : GRACE_USEC));
}

/* What is left of a device's way goes on by itself when it is closed. */
static void give_up(LeaseRun *run) {
        char why[sizeof(run->lease->reason)] = "";
        Broker *b = run->broker;
        Lease *l = run->lease;

        wait_describe(run);
        text_append(why, sizeof(why), "%s", run->revoke_reason);
        for (size_t i = 0; i < l->n_devices; i++) {
                const Device *d = inventory_device(&b->ledger.inventory, l->devices[i].address);
                char reason[sizeof(d->reason)];

                if (!d || !is_stuck(run, i, NULL) || isempty(d->reason))
                        continue; /* or it is parked, and waits for the others of its group */
                (void) text_copy(reason, sizeof(reason), d->reason);
                text_append(why, sizeof(why), "; %s: %s", ADDRESS(d->facts.address), reason);
                if (d->state != DEVICE_BROKEN)
                        journal_device_broken(l, &l->devices[i], reason);
                if (!lease_is_ending(l))
                        ledger_device_broken(&b->ledger, l, &l->devices[i], reason);
        }
        if (lease_is_ending(l))
                ledger_lease_broken(&b->ledger, l, why);
        else if (l->revoke_deadline > 0 && !run->revoke_timer)
                arm(run, time_left(run)); /* what goes next is all of it */
        run_save(run);
        broker_lease_changed(b, l);
}

static void on_climbed(Job *job, void *userdata) {
        LeaseRun *run = userdata;
        const char *id = run->lease->id;

        run->revoke_task = NULL;
        if (job->result < 0)
                journal_log(LOG_WARNING, "Lease %s: cannot %s: %s", id,
                            job->kind == JOB_KILL ? "kill all who have its devices open"
                                                  : "look who has its devices open",
                            strerror(-job->result));
        if (!isempty(job->killed))
                journal_log(LOG_NOTICE, "Lease %s: its devices were still open: killed%s", id, job->killed);
        if (job->cgroup_spared != REVOKE_CGROUP_MAY)
                journal_log(LOG_WARNING, "Lease %s: cgroup %s is not killed: %s", id, run->lease->cgroup,
                            revoke_cgroup_to_string(job->cgroup_spared));
        if (job->kind == JOB_HOLDERS)
                run_take_results(run, job);
        if (job->kind == JOB_HOLDERS && job->result >= 0 && any_is_stuck(run))
                give_up(run);
        else
                arm(run, GRACE_USEC);
        release_continue(run);
}

static void make_rule(const LeaseRun *run, RevokeRule *ret) {
        const Broker *b = run->broker;
        const Lease *l = run->lease;

        *ret = (RevokeRule) {
                .uid = l->uid,
                .pid = l->pid,
                .process = l->process,
                /* Of one that is deeper only an ancestor is known. */
                .cgroup_id = l->chain.n_levels < PASID_LEVELS_MAX ? l->chain.levels[0] : 0,
                .spared = { getpid(), b->bus_pid },
        };
        (void) text_copy(ret->cgroup, sizeof(ret->cgroup), l->cgroup);
        (void) text_copy(ret->own_cgroup, sizeof(ret->own_cgroup), b->own_cgroup ?: "");
}

static void climb(LeaseRun *run) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        RevokeRung next = revoke_next(run->rung, policy_of(run));
        int r = -ENOMEM;

        if (!any_is_stuck(run)) {
                arm(run, GRACE_USEC);
                return;
        }
        if (job) {
                run_make_job(run, next == REVOKE_RUNG_GIVE_UP ? JOB_HOLDERS : JOB_KILL, is_stuck, NULL, job);
                make_rule(run, &job->rule);
                job->whole_cgroup = next == REVOKE_RUNG_KILL_CGROUP;
                r = task_start(run->broker->tasks, job, on_climbed, run, &run->revoke_task);
        }
        if (r < 0) {
                journal_log(LOG_ERR, "Lease %s: cannot start a worker, its revocation waits: %s", run->lease->id,
                            strerror(-r));
                arm(run, GRACE_USEC);
                return;
        }
        run->rung = next;
}

/* --- asking --- */

static void on_asked(Job *job, void *userdata) {
        LeaseRun *run = userdata;

        run->ask_task = NULL;
        for (size_t i = 0; i < job->n_devices; i++)
                journal_log(LOG_INFO, "Lease %s: %s VFIO's request to let go of %s", run->lease->id,
                            job->devices[i].requested ? "somebody was sent" : "nobody listens for",
                            ADDRESS(job->devices[i].lease.address));
        release_continue(run);
}

static bool is_handed_out(const LeaseRun *run, size_t i, _unused_ const void *userdata) {
        const LeaseDevice *d = &run->lease->devices[i];

        return d->role == ROLE_LEASED && !d->joining && !d->released;
}

/* In a worker: the ioctl waits for whatever else is done to the device. */
static void ask(LeaseRun *run) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        int r = -ENOMEM;

        if (run->ask_task || run->lease->state == LEASE_PREPARING)
                return;
        if (job) {
                run_make_job(run, JOB_REQUEST, is_handed_out, NULL, job);
                r = job->n_devices == 0 ? 0 : task_start(run->broker->tasks, job, on_asked, run, &run->ask_task);
        }
        if (r < 0)
                journal_log(LOG_WARNING, "Lease %s: cannot send VFIO's device request: %s", run->lease->id,
                            strerror(-r));
}

static void set_reason(LeaseRun *run, const char *prefix, const char *reason) {
        run->revoke_reason[0] = '\0';
        text_append(run->revoke_reason, sizeof(run->revoke_reason), "%s%s", prefix, reason);
}

/* --- what is pulled --- */

static bool is_unregistered(const LeaseRun *run, const LeaseDevice *d) {
        Kernel *k = run->broker->kernel;

        return d->role == ROLE_LEASED && d->opened && !d->closed && !d->pulled &&
               k->ops->is_registered(k, d->address) == 0;
}

/* Is it open, and not us who unbind it? */
static bool is_taken_away(const LeaseRun *run, const LeaseDevice *d) {
        const LeasePart *part = run->devices[run_index(run, d)].part;

        return !part->task && !part->preparation && is_unregistered(run, d);
}

static void note_pulled(LeaseRun *run, LeaseDevice *d) {
        Broker *b = run->broker;
        Group *g = inventory_group(&b->ledger.inventory, d->group);

        d->pulled = d->leaving = d->asked = true;
        ledger_update(&b->ledger, run->lease);
        journal_log(LOG_WARNING, "Lease %s: %s is pulled, or unbound by somebody, and its client has it open",
                    run->lease->id, ADDRESS(d->address));
        if (g && b->listener)
                b->listener->group_disturbed(g, d->address, "is taken away: close it", b->listener_userdata);
        if (!lease_is_ending(run->lease)) {
                if (isempty(run->revoke_reason))
                        set_reason(run, "", "pulled");
                run->rung = REVOKE_RUNG_ASK;
        }
        arm(run, PULLED_USEC);
        run_save(run);
}

/* A worker is at it, and nobody will tell once more when that has ended. */
static void arm_for_look(LeaseRun *run) {
        arm(run, any_must_go(run) ? GRACE_USEC : PULLED_USEC);
}

void revoke_note_unregistered(Broker *b, Address a) {
        const Device *device = inventory_device(&b->ledger.inventory, a);
        LeaseRun *run = device && device->lease ? run_find(b, device->lease) : NULL;
        LeaseDevice *d = run ? lease_device(run->lease, a) : NULL;

        if (d && is_taken_away(run, d)) {
                note_pulled(run, d);
                broker_lease_changed(b, run->lease);
                release_continue(run);
        } else if (d && !lease_is_ending(run->lease) && is_unregistered(run, d))
                arm_for_look(run);
        else
                reread_device(b, a);
}

/* What was pulled while a worker was at it. Returns true if there is one that no worker is at any more; otherwise it is looked again. */
static bool look_for_pulled(LeaseRun *run) {
        bool found = false;

        for (size_t i = 0; i < run->lease->n_devices && !lease_is_ending(run->lease); i++) {
                LeaseDevice *d = &run->lease->devices[i];

                if (!is_unregistered(run, d))
                        continue;
                if (is_taken_away(run, d)) {
                        note_pulled(run, d);
                        found = true;
                } else if (!found)
                        arm_for_look(run);
        }
        return found;
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata) {
        LeaseRun *run = userdata;
        Lease *l = run->lease;

        run->revoke_timer = sd_event_source_disable_unref(run->revoke_timer);
        if (run->revoke_task)
                arm(run, GRACE_USEC);
        else if (!lease_is_ending(l) && l->revoke_deadline > 0 && time_left(run) == 0)
                release_begin(run->broker, l, run->revoke_reason);
        else if (look_for_pulled(run)) {
                broker_lease_changed(run->broker, l);
                release_continue(run);
        } else if (any_must_go(run))
                climb(run);
        else if (!run->revoke_timer && !lease_is_ending(l) && l->revoke_deadline > 0)
                arm(run, time_left(run)); /* what was pulled has gone */
        return 0;
}

/* --- beginning --- */

/* One that ends already: sooner, or once more from the first rung. */
static void begin_again(LeaseRun *run) {
        ledger_begin_again(&run->broker->ledger, run->lease, run->revoke_reason);
        arm_for_end(run);
}

void revoke_start(Broker *b, Lease *l, const char *reason, uint64_t deadline_usec) {
        LeaseRun *run = run_find(b, l);
        uint64_t now = now_usec(b), deadline = now + deadline_usec;

        if (!run ||
            (l->state != LEASE_BROKEN && deadline_usec > 0 && l->revoke_deadline > 0 && l->revoke_deadline <= deadline))
                return;
        l->revoke_deadline = deadline;
        set_reason(run, "revoked: ", reason);
        ask(run);
        if (lease_is_ending(l))
                begin_again(run);
        else if (deadline_usec > 0)
                arm(run, deadline_usec);
        run_save(run);
        broker_lease_changed(b, l);
        if (deadline_usec == 0)
                release_begin(b, l, run->revoke_reason); /* the run may be gone */
}

void revoke_resume(LeaseRun *run) {
        Lease *l = run->lease;

        if (l->state == LEASE_BROKEN) {
                run->rung = REVOKE_RUNG_GIVE_UP;
                set_reason(run, "", "it was not let go of before iommud was restarted");
        } else if (l->state == LEASE_RELEASING) {
                revoke_expect(run);
        } else if (l->revoke_deadline > 0) {
                set_reason(run, "", "revoked before iommud was restarted");
                ask(run);
                arm(run, time_left(run));
        }
        if (lease_is_ending(l))
                return;
        for (size_t i = 0; i < l->n_devices; i++)
                if (l->devices[i].pulled)
                        arm(run, PULLED_USEC);
                else if (is_taken_away(run, &l->devices[i]))
                        note_pulled(run, &l->devices[i]);
}

void revoke_expect(LeaseRun *run) {
        Lease *l = run->lease;

        /* Whatever was granted to a client that goes on. */
        if (l->revoke_deadline == 0 || time_left(run) > RELEASE_USEC)
                l->revoke_deadline = now_usec(run->broker) + RELEASE_USEC;
        set_reason(run, "", l->reason);
        arm_for_end(run);
}
