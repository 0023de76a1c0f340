/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job.h"

const char *step_to_string(Step s) {
        static const char *const names[_STEP_MAX] = {
                [STEP_NONE] = "begin",
                [STEP_LOOK_AT_USES] = "see what the host uses it for",
                [STEP_LOAD_MODULE] = "load the VFIO driver's module",
                [STEP_SET_OVERRIDE] = "set driver_override",
                [STEP_UNBIND] = "unbind from the driver",
                [STEP_BIND] = "bind to the driver of the lease",
                [STEP_CLAIM] = "claim the group",
                [STEP_OPEN] = "open the VFIO device or group",
                [STEP_SET_CONTAINER] = "claim the group for the container",
                [STEP_BIND_IOMMUFD] = "bind to the iommufd",
                [STEP_ATTACH] = "attach to an I/O address space",
                [STEP_FIND_HOLDERS] = "look for processes that have it open",
                [STEP_RESET] = "reset",
                [STEP_RESTORE_OVERRIDE] = "restore driver_override",
                [STEP_RESTORE_DRIVER] = "restore the driver",
                [STEP_SET_AUTOPROBE] = "keep drivers off its virtual functions",
                [STEP_SET_VIRTUAL_FUNCTIONS] = "change the number of its virtual functions",
                [STEP_REQUEST] = "have it let go of",
                [STEP_KILL] = "kill who has it open",
                [STEP_CHANGE_PASID] = "attach or detach a PASID of it",
                [STEP_CLOSE] = "close iommud's own descriptor of it",
        };

        return s < _STEP_MAX ? names[s] : "invalid";
}

void job_init(Job *job, JobKind kind) {
        /* The devices are filled in one by one: together they are large. */
        memset(job, 0, offsetof(Job, devices));
        job->kind = kind;
        job->iommufd = job->barrier = job->inotify_fd = job->device_fd = job->file_fd = -EBADF;
}

bool job_has_locks(const Job *job) {
        switch (job->kind) {
        case JOB_PREPARE:
        case JOB_RESTORE:
        case JOB_VIRTUAL_FUNCTIONS:
        case JOB_RESET:
        case JOB_PASID:
                return true;
        default:
                return false;
        }
}

int job_anchor(Kernel *k, const Job *job, JobDevice *d) {
        int r;

        d->step = STEP_OPEN;
        r = k->ops->open_cdev(k, d->lease.address);
        if (r < 0)
                return r;
        d->fd = r;
        d->step = STEP_BIND_IOMMUFD;
        return k->ops->bind_iommufd(k, d->fd, job->iommufd, d->lease.vf_token, &d->lease.bound);
}
