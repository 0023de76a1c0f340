/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/text.h"
#include "worker/restore.h"

/* Unbinds the device if it is on a VFIO driver. That the unbind returns is the proof that every descriptor is gone: an open one,
 * bound or not, holds it up (vfio_unregister_group_dev). Returns 1 if there is no such device any more. */
static int prove_free(Kernel *k, JobDevice *d) {
        DeviceFacts now;
        int r;

        d->step = STEP_UNBIND;
        r = k->ops->read_device(k, d->lease.address, &now);
        if (r == -ENODEV)
                return 1;
        if (r < 0)
                return r;
        if (now.driver_kind != DRIVER_VFIO)
                return 0;
        r = k->ops->unbind(k, d->lease.address);
        return r == -ENODEV ? 1 : r;
}

static int reset(Kernel *k, JobDevice *d) {
        int r;

        d->step = STEP_RESET;
        r = k->ops->reset(k, d->lease.address);
        /* A device without a reset was lent with a warning. */
        return r == -ENOTTY ? 0 : r;
}

/* Binds the driver that the host had, loading its module if it went away meanwhile. */
static int bind_original(Kernel *k, Address a, const char *driver) {
        char loaded[NAME_MAX_LEN];
        DeviceFacts now;
        int r;

        r = k->ops->read_device(k, a, &now);
        if (r < 0)
                return r;
        if (streq(now.driver, driver))
                return 0;
        r = k->ops->bind(k, a, driver);
        if (r != -ENOENT)
                return r;
        r = k->ops->load_module(k, driver, loaded);
        if (r < 0)
                return r;
        r = k->ops->read_device(k, a, &now);
        if (r < 0)
                return r;
        return streq(now.driver, driver) ? 0 : k->ops->bind(k, a, driver);
}

static int give_back(Kernel *k, const Job *job, JobDevice *d) {
        bool restore = job->restore || d->lease.role != ROLE_LEASED;
        const char *driver = restore ? d->lease.original_driver : d->lease.driver;
        int r;

        d->step = STEP_RESTORE_OVERRIDE;
        r = k->ops->set_override(k, d->lease.address, restore ? d->lease.original_override : d->lease.driver);
        if (r < 0)
                return r;
        d->step = STEP_RESTORE_DRIVER;
        return isempty(driver) ? 0 : bind_original(k, d->lease.address, driver);
}

static int see_holders(Kernel *k, Job *job) {
        bool held = false;

        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];
                int r;

                if (d->lease.role == ROLE_HELD)
                        continue;
                d->step = STEP_FIND_HOLDERS;
                r = k->ops->find_holders(k, d->lease.address, &d->holders);
                if (r < 0 && r != -ENODEV)
                        return r;
                held = held || d->holders.n > 0;
        }
        return held ? -EBUSY : 0;
}

static void restore_devices(Kernel *k, Job *job) {
        bool gone[JOB_DEVICES_MAX] = {};
        int r;

        /* First all are proven free, then all are given back: a sibling on its host driver would do DMA beside an old client. */
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];

                if (d->lease.role == ROLE_HELD)
                        continue;
                r = prove_free(k, d);
                gone[i] = r > 0;
                if (r < 0)
                        d->error = r;
        }
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];

                if (d->error < 0)
                        continue;
                d->lease.released = true;
                r = gone[i] || d->lease.role != ROLE_LEASED ? 0 : reset(k, d);
                if (r >= 0 && !gone[i])
                        r = give_back(k, job, d);
                if (r < 0 && r != -ENODEV)
                        d->error = r;
        }
}

int restore_run(Kernel *k, Job *job) {
        int r = see_holders(k, job);

        if (r < 0)
                return r;
        restore_devices(k, job);
        for (job->failed = 0; job->failed < job->n_devices; job->failed++)
                if (job->devices[job->failed].error < 0)
                        return job->devices[job->failed].error;
        return 0;
}

void restore_undo(Kernel *k, Job *job) {
        bool wanted = job->restore;

        /* Nothing was lent, so everything goes back whatever was asked for the end of the lease. */
        job->restore = true;
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];
                int r;

                if (!d->touched) {
                        d->lease.released = true;
                        continue;
                }
                Step step = d->step;
                r = prove_free(k, d);
                if (r == 0)
                        r = give_back(k, job, d);
                d->touched = r < 0 && r != -ENODEV;
                d->lease.released = r >= 0 || r == -ENODEV;
                /* Whoever failed first is to be named, with its own step. */
                if (i == job->failed)
                        d->step = step;
                else if (d->touched)
                        d->error = r;
        }
        job->restore = wanted;
}
