/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job.h"
#include "worker/prepare.h"
#include "worker/restore.h"

const char *step_to_string(Step s) {
        static const char *const names[_STEP_MAX] = {
                [STEP_NONE] = "begin",
                [STEP_LOAD_MODULE] = "load the VFIO driver's module",
                [STEP_SET_OVERRIDE] = "set driver_override",
                [STEP_UNBIND] = "unbind from the driver",
                [STEP_BIND] = "bind to the VFIO driver",
                [STEP_CLAIM] = "claim the group",
                [STEP_OPEN] = "open the VFIO device",
                [STEP_BIND_IOMMUFD] = "bind to the iommufd",
                [STEP_ATTACH] = "attach to an I/O address space",
                [STEP_FIND_HOLDERS] = "look for processes that have it open",
                [STEP_RESET] = "reset",
                [STEP_RESTORE_OVERRIDE] = "restore driver_override",
                [STEP_RESTORE_DRIVER] = "restore the driver",
        };

        return s < _STEP_MAX ? names[s] : "invalid";
}

int job_anchor(Kernel *k, const Job *job, JobDevice *d) {
        int r;

        d->step = STEP_OPEN;
        r = k->ops->open_cdev(k, d->lease.address);
        if (r < 0)
                return r;
        d->fd = r;
        d->step = STEP_BIND_IOMMUFD;
        return k->ops->bind_iommufd(k, d->fd, job->iommufd, &d->lease.bound);
}

static int setup(Kernel *k) {
        /* A machine may lack any of them; what that means is said when a request needs it. */
        static const char *const modules[] = { "vfio_pci", "vfio_iommu_type1", "iommufd" };
        char driver[NAME_MAX_LEN];

        for (size_t i = 0; i < ARRAY_SIZE(modules); i++)
                (void) k->ops->load_module(k, modules[i], driver);
        return 0;
}

static int open_iommufd(Kernel *k, Job *job) {
        int r = k->ops->open_iommufd(k, job->per_process);

        if (r < 0)
                return r;
        job->iommufd = r;
        if (job->hand_over != HAND_OVER_ATTACHED)
                return 0;
        return k->ops->alloc_ioas(k, job->iommufd, &job->ioas);
}

static int find_holders(Kernel *k, Job *job) {
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];

                d->step = STEP_FIND_HOLDERS;
                d->error = k->ops->find_holders(k, d->lease.address, &d->holders);
                if (d->error < 0 && d->error != -ENODEV)
                        return d->error;
        }
        return 0;
}

static int find_uses(Kernel *k, Job *job) {
        for (size_t i = 0; i < job->n_devices; i++) {
                int r = k->ops->read_host_uses(k, job->devices[i].lease.address, &job->uses[i]);

                if (r < 0 && r != -ENODEV)
                        return r;
        }
        return 0;
}

static int close_all(Kernel *k, Job *job) {
        for (size_t i = 0; i < job->n_devices; i++) {
                if (job->devices[i].fd >= 0)
                        k->ops->close_fd(k, job->devices[i].fd);
                job->devices[i].fd = -EBADF;
        }
        if (job->iommufd >= 0)
                k->ops->close_fd(k, job->iommufd);
        job->iommufd = -EBADF;
        return 0;
}

void job_run(Kernel *k, Job *job) {
        switch (job->kind) {
        case JOB_SETUP:
                job->result = setup(k);
                break;
        case JOB_IOMMUFD:
                job->result = open_iommufd(k, job);
                break;
        case JOB_PREPARE:
                job->result = prepare_run(k, job);
                break;
        case JOB_RESTORE:
                job->result = restore_run(k, job);
                break;
        case JOB_HOLDERS:
                job->result = find_holders(k, job);
                break;
        case JOB_USES:
                job->result = find_uses(k, job);
                break;
        case JOB_CLOSE:
                job->result = close_all(k, job);
                break;
        default:
                job->result = -EINVAL;
        }
}
