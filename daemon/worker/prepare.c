/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/prepare.h"
#include "util/text.h"
#include "worker/restore.h"

/* A driver may have come since the plan was made: then the plan is wrong, and the person who made it has to know. */
static int check_unchanged(Kernel *k, JobDevice *d) {
        DeviceFacts now;
        int r = k->ops->read_device(k, d->lease.address, &now);

        if (r < 0)
                return r;
        /* What the lease has parked is on its driver already. */
        if (d->stays && (now.driver_kind == DRIVER_VFIO || now.driver_kind == DRIVER_NONE))
                return 0;
        /* The override counts as well: it is written back at the end. */
        return streq(now.driver, d->lease.original_driver) && streq(now.driver_override, d->lease.original_override)
                       ? 0
                       : -ESTALE;
}

static int take_from_host(Kernel *k, JobDevice *d) {
        const KernelOps *ops = k->ops;
        char driver[NAME_MAX_LEN];
        int r;

        d->step = STEP_NONE;
        r = check_unchanged(k, d);
        if (r < 0)
                return r;
        if (d->lease.role == ROLE_HELD) {
                d->step = STEP_SET_OVERRIDE;
                d->touched = true;
                return ops->set_override(k, d->lease.address, JOB_HELD_OVERRIDE);
        }
        if (!isempty(d->lease.module)) {
                d->step = STEP_LOAD_MODULE;
                r = ops->load_module(k, d->lease.module, driver);
                if (r < 0)
                        return r;
                /* The name counts that the driver has, not the one its module suggests. */
                (void) text_copy(d->lease.driver, sizeof(d->lease.driver), driver);
        }
        d->step = STEP_FIND_HOLDERS;
        r = ops->find_holders(k, d->lease.address, &d->holders);
        if (r < 0)
                return r;
        if (d->holders.n > 0)
                return -EBUSY; /* it was on VFIO already, and somebody uses it: to unbind it would block for ever */
        d->step = STEP_SET_OVERRIDE;
        d->touched = true;
        r = ops->set_override(k, d->lease.address, d->lease.driver);
        if (r < 0)
                return r;
        d->step = STEP_UNBIND;
        r = ops->unbind(k, d->lease.address);
        if (r < 0)
                return r;
        d->step = STEP_BIND;
        return ops->bind(k, d->lease.address, d->lease.driver);
}

/* Binds the device to an iommufd of our own and lets go of it again. That tells before the hand-over what only the kernel knows:
 * whether the group can be owned at all, and what IOMMU and device can do together. The kernel resets the device at
 * both ends of this (vfio_pci_core_enable, vfio_pci_core_disable). */
static int try_claim(Kernel *k, JobDevice *d) {
        const KernelOps *ops = k->ops;
        int iommufd, fd, r;

        d->step = STEP_CLAIM;
        iommufd = ops->open_iommufd(k, false);
        if (iommufd < 0)
                return iommufd;
        fd = ops->open_cdev(k, d->lease.address);
        r = fd < 0 ? fd : ops->bind_iommufd(k, fd, iommufd, &d->lease.bound);
        if (fd >= 0)
                ops->close_fd(k, fd);
        ops->close_fd(k, iommufd);
        return r;
}

static int open_for_client(Kernel *k, Job *job, JobDevice *d) {
        const KernelOps *ops = k->ops;
        int r;

        d->step = STEP_OPEN;
        /* The watch comes first: a close that nobody saw would hold the device up until /proc is searched. */
        r = ops->watch_cdev(k, d->lease.address, job->inotify_fd);
        if (r < 0)
                return r;
        d->lease.watch = r;
        r = ops->open_cdev(k, d->lease.address);
        if (r < 0)
                return r;
        d->fd = r;
        d->lease.opened = true;
        if (job->hand_over != HAND_OVER_ATTACHED)
                return 0;
        d->step = STEP_BIND_IOMMUFD;
        r = ops->bind_iommufd(k, d->fd, job->iommufd, &d->lease.bound);
        if (r < 0)
                return r;
        d->step = STEP_ATTACH;
        d->lease.ioas = d->lease.pt = job->ioas;
        return ops->attach(k, d->fd, &d->lease.pt);
}

/* One phase over all devices before the next: the kernel grants a group only when the last member has left its host driver. */
static int run_phases(Kernel *k, Job *job) {
        int r;

        for (job->failed = 0; job->failed < job->n_devices; job->failed++) {
                r = take_from_host(k, &job->devices[job->failed]);
                if (r < 0)
                        return r;
        }
        for (job->failed = 0; job->failed < job->n_devices; job->failed++) {
                JobDevice *d = &job->devices[job->failed];

                /* A group that the client has claimed by its own iommufd cannot be claimed by another one, and need not be. */
                if (d->lease.role != ROLE_LEASED || d->stays)
                        continue;
                r = try_claim(k, d);
                /* Who opens the nodes himself may do so on a kernel without iommufd. */
                if (r == -ENOENT && job->hand_over == HAND_OVER_NONE)
                        continue;
                if (r < 0)
                        return r;
        }
        for (job->failed = 0; job->failed < job->n_devices && job->hand_over != HAND_OVER_NONE; job->failed++) {
                JobDevice *d = &job->devices[job->failed];

                if (d->lease.role == ROLE_LEASED)
                        r = open_for_client(k, job, d);
                else if (d->lease.role == ROLE_PARKED && job->anchor)
                        r = job_anchor(k, job, d);
                else
                        continue;
                if (r < 0)
                        return r;
        }
        return 0;
}

int prepare_run(Kernel *k, Job *job) {
        int r = run_phases(k, job);

        if (r >= 0)
                return 0;
        job->devices[job->failed].error = r;
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];

                if (d->fd >= 0)
                        k->ops->close_fd(k, d->fd);
                d->fd = -EBADF;
                d->lease.opened = false; /* nobody will see another close of it */
                d->lease.watch = -1;
        }
        restore_undo(k, job);
        return r;
}
