/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <syslog.h>

#include "broker/reread.h"
#include "broker/taken.h"
#include "core/virtual.h"
#include "system/journal.h"
#include "util/text.h"

/* When it is tried again to give back what could not be: later and later. */
#define AGAIN_FIRST_USEC UINT64_C(10000000)
#define AGAIN_LAST_USEC  UINT64_C(640000000)

static void set(Broker *b, Device *d, const char *driver, const char *override) {
        (void) text_copy(d->taken_from, sizeof(d->taken_from), driver);
        (void) text_copy(d->taken_override, sizeof(d->taken_override), override);
        d->taken_why = 0;
        broker_keep_mark(b, d);
}

static void note(Broker *b, const Job *job) {
        const Device *pf;
        Device *vf;

        for (size_t i = 0; i < job->n_devices; i++) {
                pf = inventory_device(&b->ledger.inventory, job->devices[i].lease.address);
                if (!pf || pf->facts.virtual_functions == 0)
                        continue;
                VIRTUAL_FOREACH (&b->ledger.inventory, pf, vf)
                        if (vf->facts.driver_kind == DRIVER_VFIO && !vf->lease && isempty(vf->taken_from))
                                set(b, vf, vf->facts.driver, vf->facts.driver_override);
        }
}

/* --- giving back --- */

/* Sooner again for the next one, if there is none now. */
static void reset_interval(Broker *b) {
        const Device *d;

        INVENTORY_FOREACH_DEVICE (&b->ledger.inventory, d)
                if (!isempty(d->taken_from))
                        return;
        b->taken_interval = 0;
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata) {
        Broker *b = userdata;

        b->taken_timer = sd_event_source_disable_unref(b->taken_timer);
        if (b->taken_interval < AGAIN_LAST_USEC)
                b->taken_interval *= 2;
        taken_settle_all(b);
        reset_interval(b);
        return 0;
}

static void try_again(Broker *b, Device *d, int why) {
        int r = 0;

        /* Only what is new is worth a line. */
        if (d->taken_why != why)
                journal_log(LOG_WARNING, "Cannot give %s back to %s yet, off which a worker had taken it: %s",
                            ADDRESS(d->facts.address), d->taken_from, strerror(-why));
        d->taken_why = why;
        if (b->taken_interval == 0)
                b->taken_interval = AGAIN_FIRST_USEC;
        if (!b->taken_timer)
                r = sd_event_add_time_relative(b->event, &b->taken_timer, CLOCK_MONOTONIC, b->taken_interval, 0,
                                               on_timer, b);
        if (r < 0)
                journal_log(LOG_ERR, "No timer to try that again: %s", strerror(-r));
}

static bool may_pass(int r) {
        return r == -ECHILD || r == -EAGAIN || r == -EBUSY || r == -ENOMEM || r == -EMFILE || r == -ENFILE;
}

static void note_broken(Device *d, int r) {
        d->state = DEVICE_BROKEN;
        (void) snprintf(d->reason, sizeof(d->reason),
                        "a worker has taken it off %s, and it cannot go back: %s; have the virtual functions made anew",
                        d->taken_from, strerror(-r));
        journal_log(LOG_ERR, "%s is broken: %s", ADDRESS(d->facts.address), d->reason);
}

static void on_given_back(Job *job, void *userdata) {
        Broker *b = userdata;
        Address a = job->devices[0].lease.address;
        Device *d = inventory_device(&b->ledger.inventory, a);

        if (!d || isempty(d->taken_from))
                return; /* it was removed meanwhile, and another one may have come to its place */
        if (may_pass(job->result)) {
                try_again(b, d, job->result);
                return;
        }
        if (job->result >= 0)
                journal_log(LOG_NOTICE, "%s is on %s again, off which a worker had taken it", ADDRESS(a),
                            d->taken_from);
        else if (!d->lease)
                note_broken(d, job->result);
        set(b, d, "", "");
        reread_device(b, a);
}

/* As at the end of a lease, of which it was none. */
static int give_back(Broker *b, const Device *d) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        JobDevice *jd;

        if (!job)
                return -ENOMEM;
        job_init(job, JOB_RESTORE);
        job->restore = true;
        jd = &job->devices[job->n_devices++];
        *jd = (JobDevice) {
                .lease = { .address = d->facts.address, .group = d->facts.group, .set = inventory_set_key(&d->facts) },
                .fd = -EBADF,
        };
        (void) text_copy(jd->lease.original_driver, sizeof(jd->lease.original_driver), d->taken_from);
        (void) text_copy(jd->lease.original_override, sizeof(jd->lease.original_override), d->taken_override);
        return task_start(b->tasks, job, on_given_back, b, NULL);
}

/* The worker puts back what stays, unless it is killed. Who has leased it meanwhile, or bound a driver to it, wants it otherwise. */
static void settle(Broker *b, Device *d) {
        DeviceFacts now;
        int r;

        if (isempty(d->taken_from))
                return;
        if (d->lease) {
                set(b, d, "", "");
                return;
        }
        /* A worker is at it, or at its physical function, whose end comes here again; sysfs is not read until then. */
        if (task_has_set(b->tasks, inventory_set_key(&d->facts)))
                return;
        /* One of an earlier daemon may be in the middle of taking it off. */
        r = task_check_set(b->tasks, inventory_set_key(&d->facts));
        if (r >= 0)
                r = b->kernel->ops->read_device(b->kernel, d->facts.address, &now);
        if (r >= 0 && now.driver_kind != DRIVER_NONE) {
                set(b, d, "", "");
                return;
        }
        if (r >= 0)
                r = give_back(b, d);
        if (r < 0 && r != -ENODEV) /* that is told of, and then forgotten */
                try_again(b, d, r);
}

void taken_settle(Broker *b, const Job *job) {
        const Device *pf;
        Device *vf;

        for (size_t i = 0; i < job->n_devices; i++) {
                pf = inventory_device(&b->ledger.inventory, job->devices[i].lease.address);
                if (!pf)
                        continue;
                VIRTUAL_FOREACH (&b->ledger.inventory, pf, vf)
                        settle(b, vf);
        }
}

int taken_start(Broker *b, Job *job, task_done_t done, void *userdata, Task **ret) {
        int r;

        note(b, job);
        r = task_start(b->tasks, job, done, userdata, ret);
        if (r < 0)
                taken_settle(b, job);
        return r;
}

void taken_settle_all(Broker *b) {
        Device *d;

        INVENTORY_FOREACH_DEVICE (&b->ledger.inventory, d)
                settle(b, d);
}
