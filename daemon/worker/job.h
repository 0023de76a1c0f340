/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease.h"
#include "kernel/kernel.h"

/* A piece of kernel work that can sleep, as a plain value: what is to be done, and how it went. A worker process runs it over
 * the Linux kernel, a test runs it over the simulated one. */

typedef enum JobKind {
        JOB_SETUP,   /* load the modules that the hand-overs need */
        JOB_IOMMUFD, /* open the iommufd of a lease */
        JOB_PREPARE, /* take devices from the host and make them ready for hand-over; undone as a whole on failure */
        JOB_RESTORE, /* prove devices free and give them back */
        JOB_HOLDERS, /* who has them open? */
        JOB_USES,    /* what does the host use them for? */
        JOB_CLOSE, /* close descriptors of ours: the last close of a bound device resets it, which takes up to a minute */
        _JOB_KIND_MAX,
} JobKind;

typedef enum Step {
        STEP_NONE,
        STEP_LOAD_MODULE,
        STEP_SET_OVERRIDE,
        STEP_UNBIND,
        STEP_BIND,
        STEP_CLAIM, /* the kernel is asked for ownership, to see that it grants it */
        STEP_OPEN,
        STEP_BIND_IOMMUFD,
        STEP_ATTACH,
        STEP_FIND_HOLDERS,
        STEP_RESET,
        STEP_RESTORE_OVERRIDE,
        STEP_RESTORE_DRIVER,
        _STEP_MAX,
} Step;

#define JOB_DEVICES_MAX 256

typedef struct JobDevice {
        LeaseDevice lease; /* in: the plan; out: driver, opened, watch, bound, ioas, pt, released */
        int fd;            /* out: the descriptor to hand over, -EBADF for none; in for JOB_CLOSE, consumed */
        bool stays;   /* in: its group goes on being owned, so it is parked and not given back; a claim is not tried */
        bool touched; /* something of it was changed */
        bool untouched; /* out: a failed preparation had not begun with it */
        Step step;      /* the last one begun: what a stuck worker is stuck in */
        int error;      /* 0, or the errno of that step */
        Holders holders;
} JobDevice;

typedef struct Job {
        JobKind kind;
        HandOver hand_over;
        bool anchor; /* parked devices are bound to the iommufd, for a lease with reset-set */
        bool restore;
        bool per_process;
        int iommufd; /* in for JOB_PREPARE and JOB_RESTORE, out for JOB_IOMMUFD; in for JOB_CLOSE, consumed */
        uint32_t ioas;
        int inotify_fd;
        HostUses *uses; /* out for JOB_USES: shared memory, one for each device */
        size_t n_devices;
        JobDevice devices[JOB_DEVICES_MAX];
        int result;    /* 0 or a negative errno; -EBUSY of JOB_RESTORE: there are holders and nothing was done */
        size_t failed; /* the device it failed for */
} Job;

/* Binds a parked device to the lease's iommufd and leaves its descriptor in d->fd: as long as that is open the kernel counts its whole
 * group as owned by the lease (VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED). */
int job_anchor(Kernel *k, const Job *job, JobDevice *d);

/* The part of it that is in use. */
static inline size_t job_size(const Job *job) {
        return offsetof(Job, devices) + job->n_devices * sizeof(JobDevice);
}

/* An override that no driver has: keeps a driverless member driverless whatever module is loaded. */
#define JOB_HELD_OVERRIDE "iommud-held"

/* Runs the job to its end, however long that takes; fills in the results. */
void job_run(Kernel *k, Job *job);

const char *step_to_string(Step s);
