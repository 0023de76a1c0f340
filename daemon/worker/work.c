/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "worker/physical.h"
#include "worker/prepare.h"
#include "worker/restore.h"
#include "worker/revoke.h"
#include "worker/virtual.h"
#include "worker/work.h"

/* Without an IOMMU there is nothing to hold. */
static int load_gate(Kernel *k) {
        Platform p;
        int r = k->ops->read_platform(k, &p);

        return r < 0 ? r : p.iommu ? k->ops->gate_load(k) : -ENODEV;
}

static int setup(Kernel *k) {
        /* A machine may lack any of them; what that means is said when a request needs it. */
        static const char *const modules[] = { "vfio_pci", "vfio_iommu_type1", "iommufd" };
        char driver[NAME_MAX_LEN];

        for (size_t i = 0; i < ARRAY_SIZE(modules); i++)
                (void) k->ops->load_module(k, modules[i], driver);
        return load_gate(k); /* after VFIO's modules, whose functions it hooks into */
}

static int open_iommufd(Kernel *k, Job *job) {
        int r = job->hand_over == HAND_OVER_GROUP ? k->ops->open_container(k)
                                                  : k->ops->open_iommufd(k, job->per_process);

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
                d->error = physical_find_holders(k, d->lease.address, &d->holders);
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

static int survey(Kernel *k, Job *job) {
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];

                d->error = k->ops->read_pasid_bits(k, d->lease.address, &d->pasid_bits);
        }
        return 0;
}

static int reset_at_wish(Kernel *k, Job *job) {
        int r = -ENOTTY;

        job->devices[0].step = STEP_RESET;
        if (job->reset_method == RESET_FUNCTION)
                r = k->ops->reset_open(k, job->device_fd);
        if (r != -ENOTTY)
                return r;
        job->reset_method = RESET_HOT;
        return k->ops->hot_reset(k, job->device_fd);
}

static int change_pasid(Kernel *k, Job *job) {
        const PasidOrder *o = &job->pasid;

        job->devices[0].step = STEP_CHANGE_PASID;
        return o->detach ? k->ops->detach_pasid(k, job->device_fd, o->pasid)
                         : k->ops->attach_pasid(k, job->device_fd, o->pt, o->pasid);
}

/* systemd answers at once, but a daemon that hangs must not keep a device from its next owner. */
#define BARRIER_MSEC 5000

static int close_all(Kernel *k, Job *job) {
        struct pollfd barrier = { .fd = job->barrier };

        /* Otherwise systemd would be found among the holders of a device. */
        if (barrier.fd >= 0)
                (void) poll(&barrier, 1, BARRIER_MSEC);
        for (size_t i = 0; i < job->n_devices; i++) {
                job->devices[i].step = STEP_CLOSE;
                if (job->devices[i].fd >= 0)
                        k->ops->close_fd(k, job->devices[i].fd);
                job->devices[i].fd = -EBADF;
        }
        if (job->iommufd >= 0)
                k->ops->close_fd(k, job->iommufd);
        job->iommufd = -EBADF;
        return 0;
}

void work_run(Kernel *k, Job *job) {
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
        case JOB_SURVEY:
                job->result = survey(k, job);
                break;
        case JOB_RESET:
                job->result = reset_at_wish(k, job);
                break;
        case JOB_VIRTUAL_FUNCTIONS:
                job->result = virtual_run(k, job);
                break;
        case JOB_PASID:
                job->result = change_pasid(k, job);
                break;
        case JOB_REQUEST:
                job->result = revoke_request(k, job);
                break;
        case JOB_KILL:
                job->result = revoke_kill(k, job);
                break;
        case JOB_SYNC:
                job->result = fsync(job->file_fd) < 0 ? -errno : 0;
                break;
        case JOB_CLOSE:
                job->result = close_all(k, job);
                break;
        default:
                job->result = -EINVAL;
        }
}
