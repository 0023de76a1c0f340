/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/prepare.h"
#include "util/text.h"
#include "worker/physical.h"
#include "worker/restore.h"

/* The lease had it before, handed to nobody. */
static bool is_parked(const JobDevice *d) {
        return d->stays && !d->fresh;
}

/* A driver may have come since the plan was made: then the plan is wrong, and the person who made it has to know. Returns 1 if it is
 * no host driver. */
static int check_unchanged(Kernel *k, const JobDevice *d) {
        DeviceFacts now;
        int r = k->ops->read_device(k, d->lease.address, &now);

        if (r < 0)
                return r;
        /* Then it is on its driver already. */
        if (is_parked(d) && (now.driver_kind == DRIVER_VFIO || now.driver_kind == DRIVER_NONE))
                return 1;
        /* The override counts as well: it is written back at the end. */
        if (now.odd_override || !streq(now.driver, d->lease.original_driver) ||
            !streq(now.driver_override, d->lease.original_override))
                return -ESTALE;
        return now.driver_kind != DRIVER_HOST;
}

/* Nor has the host begun to use it since: a disk can be mounted any time until its driver lets go of it. */
static int check_unused(Kernel *k, JobDevice *d) {
        HostUses uses;
        DeviceFacts now;
        int r = k->ops->read_device(k, d->lease.address, &now);

        if (r < 0 || now.driver_kind != DRIVER_HOST)
                return r;
        d->step = STEP_LOOK_AT_USES;
        r = k->ops->read_host_uses(k, d->lease.address, &uses);
        return r < 0 ? r : uses.n > 0 ? -EBUSY : 0;
}

/* With the override no other driver comes any more. But one may have come after the look, if somebody loaded its module, or if the device is
 * new: the kernel has chosen its driver already. */
static int check_same_driver(Kernel *k, const JobDevice *d) {
        DeviceFacts now;
        int r;

        if (is_parked(d))
                return 0;
        r = k->ops->read_device(k, d->lease.address, &now);
        return r < 0 || streq(now.driver, d->lease.original_driver) ? r : -ESTALE;
}

static int take_from_host(Kernel *k, const Job *job, JobDevice *d) {
        const KernelOps *ops = k->ops;
        char driver[NAME_MAX_LEN];
        int r, may_be_open;

        d->step = STEP_NONE;
        may_be_open = check_unchanged(k, d);
        if (may_be_open < 0)
                return may_be_open;
        r = job->force_in_use ? 0 : check_unused(k, d);
        if (r < 0)
                return r;
        if (d->lease.role == ROLE_HELD) {
                d->step = STEP_SET_OVERRIDE;
                d->touched = true;
                r = ops->set_override(k, d->lease.address, LEASE_HELD_OVERRIDE);
                return r < 0 ? r : check_same_driver(k, d);
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
        /* What comes from a host driver nobody has open, although the lease's client may have its group. */
        r = may_be_open ? physical_find_holders(k, d->lease.address, &d->holders) : 0;
        if (r < 0)
                return r;
        if (d->holders.n > 0)
                return -EBUSY; /* somebody uses it: to unbind it would block for ever */
        d->step = STEP_SET_OVERRIDE;
        d->touched = true;
        r = ops->set_override(k, d->lease.address, d->lease.driver);
        if (r >= 0)
                r = check_same_driver(k, d);
        if (r < 0)
                return r;
        d->step = STEP_UNBIND;
        r = physical_unbind(k, d->lease.address, &d->holders);
        if (r < 0)
                return r;
        d->step = STEP_BIND;
        return ops->bind(k, d->lease.address, d->lease.driver);
}

/* Who owns the group already? Somebody who has another member of it open, which is on a VFIO driver and not the lease's. */
static void find_owner(Kernel *k, const Job *job, JobDevice *d) {
        _cleanup_free_ Address *list = NULL;
        size_t n = 0;

        if (k->ops->list_devices(k, &list, &n) < 0)
                return;
        for (size_t i = 0; i < n && d->holders.n == 0; i++) {
                bool ours = false;
                DeviceFacts f;

                for (size_t j = 0; j < job->n_devices && !ours; j++)
                        ours = address_equal(job->devices[j].lease.address, list[i]);
                if (!ours && k->ops->read_device(k, list[i], &f) >= 0 && f.group == d->lease.group &&
                    f.driver_kind == DRIVER_VFIO)
                        (void) k->ops->find_holders(k, list[i], &d->holders);
        }
}

/* Binds the device to an iommufd of our own and lets go of it again. That tells before the hand-over what only the kernel knows:
 * whether the group can be owned at all, and what IOMMU and device can do together. The kernel resets the device at
 * both ends of this (vfio_pci_core_enable, vfio_pci_core_disable). */
static int try_iommufd(Kernel *k, JobDevice *d) {
        const KernelOps *ops = k->ops;
        int iommufd, fd, r;

        iommufd = ops->open_iommufd(k, false);
        if (iommufd < 0)
                return iommufd;
        fd = ops->open_cdev(k, d->lease.address);
        r = fd < 0 ? fd : ops->bind_iommufd(k, fd, iommufd, d->lease.vf_token, &d->lease.bound);
        if (fd >= 0)
                ops->close_fd(k, fd);
        ops->close_fd(k, iommufd);
        return r;
}

/* The same by a container of our own. */
static int try_container(Kernel *k, JobDevice *d) {
        const KernelOps *ops = k->ops;
        int container, group, fd = -EBADF, r;

        container = ops->open_container(k);
        if (container < 0)
                return container;
        group = ops->open_group(k, d->lease.group);
        r = group < 0 ? group : ops->set_container(k, group, container);
        if (r >= 0)
                r = fd = ops->open_by_group(k, group, container, d->lease.address, &d->lease.bound);
        if (fd >= 0)
                ops->close_fd(k, fd);
        if (group >= 0)
                ops->close_fd(k, group);
        ops->close_fd(k, container);
        return r;
}

static int try_claim(Kernel *k, const Job *job, JobDevice *d) {
        int r;

        d->step = STEP_CLAIM;
        if (hand_over_is_legacy(job->hand_over))
                return try_container(k, d);
        r = try_iommufd(k, d);
        if (r != -ENOENT || job->hand_over != HAND_OVER_NONE)
                return r;
        /* Who opens the nodes himself may do so on a kernel without iommufd. */
        r = try_container(k, d);
        return r == -ENOENT ? 0 : r;
}

/* One descriptor stands for the whole group. */
static bool is_first_of_group(const Job *job, const JobDevice *d) {
        for (const JobDevice *other = job->devices; other != d; other++)
                if (other->lease.role == ROLE_LEASED && other->lease.group == d->lease.group)
                        return false;
        return true;
}

static int open_group_for_client(Kernel *k, const Job *job, JobDevice *d) {
        const KernelOps *ops = k->ops;
        int r;

        d->step = STEP_OPEN;
        r = ops->watch_group(k, d->lease.group, job->inotify_fd);
        if (r < 0)
                return r;
        d->lease.watch = r;
        d->lease.opened = true;
        if (job->hand_over == HAND_OVER_NODE || !is_first_of_group(job, d))
                return 0;
        r = ops->open_group(k, d->lease.group);
        if (r < 0)
                return r;
        d->fd = r;
        d->step = STEP_SET_CONTAINER;
        return ops->set_container(k, d->fd, job->iommufd);
}

static int open_for_client(Kernel *k, Job *job, JobDevice *d) {
        const KernelOps *ops = k->ops;
        int r;

        if (hand_over_is_legacy(job->hand_over))
                return open_group_for_client(k, job, d);
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
        return ops->bind_iommufd(k, d->fd, job->iommufd, d->lease.vf_token, &d->lease.bound);
}

/* The kernel has one table for all members of a group (iommufd/device.c in Linux 7.2), and attaches PASIDs only while that is one for
 * PASIDs, too. */
static int attach_for_client(Kernel *k, Job *job, JobDevice *d) {
        bool pasids = false;
        uint32_t table = 0;
        int r = 0;

        d->step = STEP_ATTACH;
        d->lease.ioas = job->ioas;
        for (const JobDevice *o = job->devices; o < job->devices + job->n_devices; o++)
                if (o->lease.role == ROLE_LEASED && o->lease.group == d->lease.group) {
                        pasids = pasids || o->lease.bound.pasid_bits > 0;
                        table = o->lease.pt ?: table;
                }
        if (table == 0 && pasids && job->has_pasids)
                r = k->ops->alloc_pasid_table(k, job->iommufd, d->lease.bound.devid, job->ioas, &table);
        if (r < 0 && r != -EOPNOTSUPP)
                return r;
        d->lease.pt = table ?: job->ioas;
        return k->ops->attach(k, d->fd, &d->lease.pt);
}

/* One phase over all devices before the next: the kernel grants a group only when the last member has left its host driver. */
static int run_phases(Kernel *k, Job *job) {
        int r;

        for (job->failed = 0; job->failed < job->n_devices; job->failed++) {
                r = take_from_host(k, job, &job->devices[job->failed]);
                if (r < 0)
                        return r;
        }
        for (job->failed = 0; job->failed < job->n_devices; job->failed++) {
                JobDevice *d = &job->devices[job->failed];

                /* A group that the client has claimed by its own iommufd cannot be claimed by another one, and need not be. */
                if (d->lease.role != ROLE_LEASED || d->stays)
                        continue;
                r = try_claim(k, job, d);
                if (r == -EPERM)
                        find_owner(k, job, d);
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
        for (job->failed = 0; job->failed < job->n_devices && job->hand_over == HAND_OVER_ATTACHED; job->failed++) {
                JobDevice *d = &job->devices[job->failed];

                r = d->lease.role == ROLE_LEASED ? attach_for_client(k, job, d) : 0;
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
                d->lease.pt = 0;
                d->lease.watch = -1;
        }
        restore_undo(k, job);
        return r;
}
