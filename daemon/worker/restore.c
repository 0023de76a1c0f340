/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/restore.h"
#include "util/text.h"

typedef enum Proof {
        PROOF_FREE, /* on no driver now */
        PROOF_GONE, /* there is no such device any more */
        PROOF_HOST, /* on a driver of the host's: it never left it, or is back on it */
} Proof;

/* Unbinds the device if it is on a VFIO driver. That the unbind returns is the proof that every descriptor is gone: an open one,
 * bound or not, holds it up (vfio_unregister_group_dev). */
static int prove_free(Kernel *k, JobDevice *d) {
        Address a = d->lease.address;
        DeviceFacts now;
        int r;

        d->step = STEP_UNBIND;
        r = k->ops->read_device(k, a, &now);
        if (r == -ENODEV)
                return PROOF_GONE;
        if (r < 0)
                return r;
        if (now.driver_kind == DRIVER_NONE && d->lease.opened) {
                /* While somebody else's unbind waits for a descriptor, sysfs shows no driver (vfio_unregister_group_dev comes
                 * after). A bind waits for it too, since both take the device's lock. */
                r = k->ops->set_override(k, a, d->lease.driver);
                if (r >= 0)
                        r = k->ops->bind(k, a, d->lease.driver);
                if (r < 0)
                        return r;
        } else if (now.driver_kind == DRIVER_NONE)
                return PROOF_FREE;
        else if (now.driver_kind != DRIVER_VFIO)
                return PROOF_HOST;
        r = k->ops->unbind(k, a);
        return r == -ENODEV ? PROOF_GONE : r;
}

/* ENODEV has two meanings: there is no device, or its driver does not want it. */
static bool is_gone(Kernel *k, Address a) {
        DeviceFacts now;

        return k->ops->read_device(k, a, &now) == -ENODEV;
}

/* Whether some device of the group could not be proven free: then nothing of the group may go back. */
static bool is_held_up(const Job *job, int group) {
        for (size_t i = 0; i < job->n_devices; i++)
                if (job->devices[i].lease.group == group && job->devices[i].error < 0 &&
                    !job->devices[i].lease.released)
                        return true;
        return false;
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
        int r, q;

        d->step = STEP_RESTORE_OVERRIDE;
        r = k->ops->set_override(k, d->lease.address, restore ? d->lease.original_override : d->lease.driver);
        if (r < 0 || isempty(driver))
                return r;
        d->step = STEP_RESTORE_DRIVER;
        r = bind_original(k, d->lease.address, driver);
        if (r != -ENODEV || !restore || streq(d->lease.original_override, driver) || is_gone(k, d->lease.address))
                return r;
        /* It was bound by an override that somebody has cleared since. */
        r = k->ops->set_override(k, d->lease.address, driver);
        if (r >= 0)
                r = bind_original(k, d->lease.address, driver);
        q = k->ops->set_override(k, d->lease.address, d->lease.original_override);
        return r < 0 ? r : q;
}

/* A device that leaves while others of its group stay: it is bound anew, and handed to nobody. */
static int park(Kernel *k, const Job *job, JobDevice *d) {
        int r;

        d->step = STEP_SET_OVERRIDE;
        r = k->ops->set_override(k, d->lease.address, d->lease.driver);
        if (r < 0)
                return r;
        d->step = STEP_BIND;
        r = k->ops->bind(k, d->lease.address, d->lease.driver);
        return r < 0 || !job->anchor ? r : job_anchor(k, job, d);
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

static void restore_device(Kernel *k, const Job *job, JobDevice *d, Proof proof) {
        int r = 0;

        if (proof == PROOF_GONE)
                return;
        /* Under its host driver a device is in use already. */
        if (proof == PROOF_FREE && d->lease.role == ROLE_LEASED)
                r = reset(k, d);
        if (r >= 0)
                r = d->stays ? park(k, job, d) : give_back(k, job, d);
        if (r < 0 && !(r == -ENODEV && is_gone(k, d->lease.address)))
                d->error = r;
}

static void restore_devices(Kernel *k, Job *job) {
        int proof[JOB_DEVICES_MAX] = {};

        /* First all are proven free, then all are given back: a sibling on its host driver would do DMA beside an old client. */
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];

                if (d->lease.role == ROLE_HELD)
                        continue;
                proof[i] = prove_free(k, d);
                if (proof[i] < 0)
                        d->error = proof[i];
        }
        for (size_t i = 0; i < job->n_devices; i++)
                job->devices[i].lease.released = !is_held_up(job, job->devices[i].lease.group);
        for (size_t i = 0; i < job->n_devices; i++)
                if (job->devices[i].lease.released)
                        restore_device(k, job, &job->devices[i], proof[i]);
}

int restore_run(Kernel *k, Job *job) {
        int r = see_holders(k, job);

        if (r < 0)
                return r;
        restore_devices(k, job);
        for (job->failed = 0; job->failed < job->n_devices; job->failed++)
                if (job->devices[job->failed].error < 0)
                        /* EBUSY is for holders, when nothing was done; the device's error tells what it was. */
                        return job->devices[job->failed].error == -EBUSY ? -EIO : job->devices[job->failed].error;
        return 0;
}

void restore_undo(Kernel *k, Job *job) {
        bool wanted = job->restore;

        /* Nothing was lent, so everything goes back whatever was asked for the end of the lease. */
        job->restore = true;
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];
                int r;

                d->untouched = !d->touched;
                if (d->untouched) {
                        d->lease.released = true;
                        continue;
                }
                Step step = d->step;
                r = prove_free(k, d);
                if (r == PROOF_FREE || r == PROOF_HOST)
                        r = d->stays ? park(k, job, d) : give_back(k, job, d);
                if (r == -ENODEV && is_gone(k, d->lease.address))
                        r = 0;
                d->touched = r < 0;
                d->lease.released = r >= 0;
                /* Whoever failed first is to be named, with its own step. */
                if (i == job->failed)
                        d->step = step;
                else if (d->touched)
                        d->error = r;
        }
        job->restore = wanted;
}
