/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <syslog.h>

#include "broker/reread.h"
#include "broker/taken.h"
#include "core/virtual.h"
#include "system/journal.h"
#include "util/text.h"

static void set(Broker *b, Device *d, const char *driver, const char *override) {
        (void) text_copy(d->taken_from, sizeof(d->taken_from), driver);
        (void) text_copy(d->taken_override, sizeof(d->taken_override), override);
        broker_keep_mark(b, d);
}

void taken_note(Broker *b, const Job *job) {
        const Device *pf;
        Device *vf;

        for (size_t i = 0; i < job->n_devices; i++) {
                pf = inventory_device(&b->ledger.inventory, job->devices[i].lease.address);
                if (!pf || pf->facts.virtual_functions == 0)
                        continue;
                VIRTUAL_FOREACH (&b->ledger.inventory, pf, vf)
                        if (vf->facts.driver_kind == DRIVER_VFIO && !vf->lease && !vf->facts.odd_override)
                                set(b, vf, vf->facts.driver, vf->facts.driver_override);
        }
}

static void on_given_back(Job *job, void *userdata) {
        Broker *b = userdata;
        const JobDevice *jd = &job->devices[0];
        Device *d = inventory_device(&b->ledger.inventory, jd->lease.address);
        int r = job->result;

        if (!d)
                return; /* it was removed meanwhile */
        if (r < 0 && !d->lease) {
                d->state = DEVICE_BROKEN;
                (void) snprintf(d->reason, sizeof(d->reason), "a worker has taken it off %s, and it cannot go back: %s",
                                d->taken_from, strerror(-r));
                journal_log(LOG_ERR, "%s is broken: %s", ADDRESS(d->facts.address), d->reason);
        } else
                journal_log(LOG_NOTICE, "%s is on %s again, off which a worker had taken it", ADDRESS(d->facts.address),
                            d->taken_from);
        set(b, d, "", "");
        reread_device(b, jd->lease.address);
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

/* The worker puts back what stays, unless it is killed; and whoever has bound it meanwhile, or leased it, knows better. */
static void settle(Broker *b, Device *d) {
        DeviceFacts now;
        int r;

        if (isempty(d->taken_from))
                return;
        r = b->kernel->ops->read_device(b->kernel, d->facts.address, &now);
        if (r < 0 || now.driver_kind != DRIVER_NONE || d->lease) {
                set(b, d, "", "");
                return;
        }
        r = give_back(b, d);
        if (r < 0)
                journal_log(LOG_WARNING, "Cannot give %s back to %s, off which a worker had taken it: %s",
                            ADDRESS(d->facts.address), d->taken_from, strerror(-r));
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

void taken_settle_all(Broker *b) {
        Device *d;

        INVENTORY_FOREACH_DEVICE (&b->ledger.inventory, d)
                settle(b, d);
}
