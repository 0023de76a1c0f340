/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/restore.h"
#include "util/text.h"
#include "worker/physical.h"

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
        else if (now.driver_kind != DRIVER_VFIO && !streq(now.driver, d->lease.driver)) /* parked on pci-stub */
                return PROOF_HOST;
        r = physical_unbind(k, a, &d->holders);
        return r == -ENODEV ? PROOF_GONE : r;
}

/* One that was kept driverless is nobody's to unbind; but somebody may have bound a driver by hand. */
static int look_at_held(Kernel *k, const JobDevice *d) {
        DeviceFacts now;
        int r = k->ops->read_device(k, d->lease.address, &now);

        if (r == -ENODEV)
                return PROOF_GONE;
        if (r < 0)
                return r;
        return now.driver_kind == DRIVER_NONE ? PROOF_FREE : PROOF_HOST;
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

int restore_give_back(Kernel *k, const Job *job, JobDevice *d) {
        bool restore = job->restore || d->lease.role != ROLE_LEASED;
        const char *driver = restore ? d->lease.original_driver : d->lease.driver;
        const char *override = restore ? d->lease.original_override : d->lease.driver;
        int r;

        d->step = STEP_RESTORE_OVERRIDE;
        r = k->ops->set_override(k, d->lease.address, override);
        if (r < 0 || (isempty(driver) && !d->lease.newcomer))
                return r;
        d->step = STEP_RESTORE_DRIVER;
        if (isempty(driver))
                return k->ops->probe(k, d->lease.address);
        return physical_bind_again(k, d->lease.address, driver, override);
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

/* EBUSY is for holders, when nothing was done; the device's error tells what it was. */
static int unless_held(int r) {
        return r == -EBUSY ? -EIO : r;
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
                        return d->error = unless_held(r);
                held = held || d->holders.n > 0;
        }
        return held ? -EBUSY : 0;
}

/* By the legacy interface a client may be seen nowhere (his group is on its way over a socket, or he has the device alone, which is
 * an anonymous inode) and the unbind would block. The kernel gives a group to one opener at a time, also while a device of it is
 * open: so it tells. */
static int see_open_groups(Kernel *k, Job *job) {
        if (!hand_over_is_legacy(job->hand_over))
                return 0;
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];
                int fd;

                if (d->lease.role != ROLE_LEASED)
                        continue;
                d->step = STEP_FIND_HOLDERS;
                fd = k->ops->open_group(k, d->lease.group);
                if (fd >= 0)
                        k->ops->close_fd(k, fd);
                else if (fd == -EBUSY)
                        return fd;
                else if (fd != -ENOENT) /* no device of it is on a VFIO driver any more */
                        return d->error = fd;
        }
        return 0;
}

/* Is everything of its reset set free, here and elsewhere? Then its bus may be reset. */
static bool is_set_idle(const Job *job, const JobDevice *d, const int *proof) {
        for (size_t i = 0; i < job->n_devices; i++) {
                const JobDevice *o = &job->devices[i];

                if (address_equal(o->lease.set, d->lease.set) && (!o->lease.released || proof[i] == PROOF_HOST))
                        return false;
        }
        return d->set_idle;
}

/* Nobody gets what a client has left in the device, neither the host nor the next client. One that cannot be reset is told of. */
static int clean(Kernel *k, const Job *job, JobDevice *d, const int *proof) {
        int r;

        d->step = STEP_RESET;
        r = k->ops->reset(k, d->lease.address);
        if (r == -ENOTTY && is_set_idle(job, d, proof))
                r = k->ops->reset_bus(k, d->lease.address);
        d->clean = r >= 0;
        return r == -ENOTTY ? 0 : r;
}

static void note_error(Kernel *k, JobDevice *d, int r) {
        if (r < 0 && !(r == -ENODEV && is_gone(k, d->lease.address)))
                d->error = r;
}

/* In three passes: all are proven free, all are reset, and only then the first goes back. A sibling on its host driver would do DMA
 * beside an old client, and would not survive a reset of the bus. */
static void restore_devices(Kernel *k, Job *job) {
        int proof[JOB_DEVICES_MAX] = {};

        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];

                proof[i] = d->lease.role == ROLE_HELD ? look_at_held(k, d) : prove_free(k, d);
                if (proof[i] < 0)
                        d->error = proof[i];
        }
        for (size_t i = 0; i < job->n_devices; i++)
                job->devices[i].lease.released = !is_held_up(job, job->devices[i].lease.group);
        for (size_t i = 0; i < job->n_devices; i++)
                /* Under its host driver a device is in use already. */
                if (job->devices[i].used && job->devices[i].lease.released && proof[i] == PROOF_FREE)
                        note_error(k, &job->devices[i], clean(k, job, &job->devices[i], proof));
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];

                if (d->lease.released && proof[i] != PROOF_GONE && d->error >= 0)
                        note_error(k, d, d->stays ? park(k, job, d) : restore_give_back(k, job, d));
        }
}

int restore_run(Kernel *k, Job *job) {
        int r = see_holders(k, job);

        if (r >= 0)
                r = see_open_groups(k, job);
        if (r < 0)
                return r;
        restore_devices(k, job);
        for (job->failed = 0; job->failed < job->n_devices; job->failed++)
                if (job->devices[job->failed].error < 0)
                        return unless_held(job->devices[job->failed].error);
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
                /* Whoever failed first is to be named, with its own step and those whom it met. */
                Step step = d->step;
                Holders met = d->holders;
                r = prove_free(k, d);
                if (r == PROOF_FREE || r == PROOF_HOST)
                        r = d->stays ? park(k, job, d) : restore_give_back(k, job, d);
                if (r == -ENODEV && is_gone(k, d->lease.address))
                        r = 0;
                d->touched = r < 0;
                d->lease.released = r >= 0;
                if (i == job->failed) {
                        d->step = step;
                        d->holders = met;
                } else if (d->touched)
                        d->error = r;
        }
        job->restore = wanted;
}
