/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/survey.h"
#include "system/journal.h"

static void take_result(Broker *b, const Job *job, const JobDevice *j) {
        Device *d = inventory_device(&b->ledger.inventory, j->lease.address);
        int r = job->result < 0 ? job->result : j->error;

        /* It may have gone, and another one come to its place. */
        if (!d || !d->surveying)
                return;
        d->surveying = false;
        /* Of a worker that failed nothing is known: until another one has looked, the device may have them. */
        d->surveyed = job->result >= 0;
        if (r < 0 && r != -ENODEV)
                journal_log(LOG_WARNING, "Cannot read whether %s has PASIDs: %s", ADDRESS(d->facts.address),
                            strerror(-r));
        if (r < 0 || d->pasid_bits == j->pasid_bits)
                return;
        d->pasid_bits = j->pasid_bits;
        broker_device_changed(b, d);
}

static void on_surveyed(Job *job, void *userdata) {
        Broker *b = userdata;

        b->surveying = false;
        for (size_t i = 0; i < job->n_devices; i++)
                take_result(b, job, &job->devices[i]);
        if (job->result >= 0)
                survey_start(b); /* otherwise not at once again: with the next device that is read */
}

void survey_start(Broker *b) {
        _cleanup_free_ Job *job = NULL;
        Device *d;
        int r = -ENOMEM;

        if (b->surveying)
                return;
        job = malloc(sizeof(*job));
        if (job) {
                job_init(job, JOB_SURVEY);
                INVENTORY_FOREACH_DEVICE (&b->ledger.inventory, d) {
                        if (d->surveyed || job->n_devices == JOB_DEVICES_MAX)
                                continue;
                        d->surveying = true;
                        job->devices[job->n_devices++] =
                                (JobDevice) { .lease.address = d->facts.address, .fd = -EBADF };
                }
                if (job->n_devices == 0)
                        return;
                r = task_start(b->tasks, job, on_surveyed, b, NULL);
        }
        if (r < 0)
                journal_log(LOG_WARNING, "Cannot start to read which devices have PASIDs: %s", strerror(-r));
        b->surveying = r >= 0;
}
