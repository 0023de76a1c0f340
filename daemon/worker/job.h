/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease.h"
#include "core/resetset.h"
#include "core/revoke.h"
#include "kernel/kernel.h"

/* A piece of kernel work that can sleep, as a plain value: what is to be done, and how it went. A worker process runs it over
 * the Linux kernel, a test runs it over the simulated one. */

typedef enum JobKind {
        JOB_SETUP,   /* load the modules that the hand-overs need, and the gate; the result is that of the gate */
        JOB_IOMMUFD, /* open the iommufd of a lease, or its container */
        JOB_PREPARE, /* take devices from the host and make them ready for hand-over; undone as a whole on failure */
        JOB_RESTORE, /* prove devices free and give them back */
        JOB_VIRTUAL_FUNCTIONS, /* change how many the first device has; the others are those it has */
        JOB_HOLDERS,           /* who has them open? */
        JOB_USES,              /* what does the host use them for? */
        JOB_SURVEY,            /* what does configuration space say of them? */
        JOB_RESET,             /* reset a device at its holder's wish, by a descriptor that the daemon has */
        JOB_PASID,             /* attach or detach a PASID at its holder's wish, by the same */
        JOB_REQUEST,           /* have those who have them told to let go of them */
        JOB_KILL,              /* ... and kill them */
        JOB_SYNC,              /* wait until the disk has a file */
        JOB_CLOSE, /* close descriptors of ours: the last close of a bound device resets it, which takes up to a minute */
        _JOB_KIND_MAX,
} JobKind;

typedef enum Step {
        STEP_NONE,
        STEP_LOOK_AT_USES,
        STEP_LOAD_MODULE,
        STEP_SET_OVERRIDE,
        STEP_UNBIND,
        STEP_BIND,
        STEP_CLAIM, /* the kernel is asked for ownership, to see that it grants it */
        STEP_OPEN,
        STEP_SET_CONTAINER,
        STEP_BIND_IOMMUFD,
        STEP_ATTACH,
        STEP_FIND_HOLDERS,
        STEP_RESET,
        STEP_RESTORE_OVERRIDE,
        STEP_RESTORE_DRIVER,
        STEP_SET_AUTOPROBE,
        STEP_SET_VIRTUAL_FUNCTIONS,
        STEP_REQUEST,
        STEP_KILL,
        STEP_CHANGE_PASID,
        STEP_CLOSE,
        _STEP_MAX,
} Step;

#define JOB_DEVICES_MAX 256

typedef struct JobDevice {
        LeaseDevice lease; /* in: the plan; out: driver, opened, watch, bound, ioas, pt, released */
        int fd;            /* out: the descriptor to hand over, -EBADF for none; in for JOB_CLOSE, consumed */
        bool stays; /* in: its group goes on being owned, so it is parked and not given back; a claim is not tried */
        bool fresh; /* in: ... and the lease did not have it before */
        bool used;  /* in: a client had it since it was last reset */
        bool set_idle; /* in: its whole reset set goes with it, so the bus may be reset if the device has no reset of its own */
        bool clean;         /* out: it was reset */
        bool requested;     /* out of JOB_REQUEST: somebody listened */
        bool touched;       /* something of it was changed */
        bool untouched;     /* out: a failed preparation had not begun with it */
        uint8_t pasid_bits; /* out for JOB_SURVEY */
        Step step;          /* the last one begun: what a stuck worker is stuck in */
        int error;          /* 0, or the errno of that step */
        Holders holders;
} JobDevice;

typedef struct PasidOrder {
        bool detach;
        uint32_t pasid;
        uint32_t pt; /* to attach to */
} PasidOrder;

typedef struct Job {
        JobKind kind;
        HandOver hand_over;
        bool anchor;       /* parked devices are bound to the iommufd, for a lease with reset-set */
        bool force_in_use; /* of JOB_PREPARE: take what the host uses, too */
        bool restore;
        bool per_process;
        bool has_pasids; /* of an attached hand-over: the device's page table is to be one for PASIDs */
        int iommufd; /* or container; in for JOB_PREPARE and JOB_RESTORE, out for JOB_IOMMUFD; in for JOB_CLOSE, consumed */
        int barrier; /* in for JOB_CLOSE, consumed: hangs up when systemd has been told to close its copies; -EBADF if it has none */
        uint32_t ioas;
        int inotify_fd;
        int device_fd; /* of JOB_RESET: of the device, or for a hot reset of one beside it in its set; of JOB_PASID; borrowed */
        int file_fd;                /* of JOB_SYNC; borrowed */
        PasidOrder pasid;           /* of JOB_PASID */
        ResetMethod reset_method;   /* of JOB_RESET, in: the first to try, out: the one that was used */
        HostUses *uses;             /* out for JOB_USES: shared memory, one for each device */
        uint32_t virtual_functions; /* in for JOB_VIRTUAL_FUNCTIONS */
        RevokeRule rule;            /* in for JOB_KILL */
        bool whole_cgroup;          /* likewise: that, and not single processes */
        char killed[256];           /* out: " 4711 4712", as much of it as fits */
        RevokeCgroup cgroup_spared; /* out: why the cgroup was not killed */
        size_t n_devices;
        JobDevice devices[JOB_DEVICES_MAX];
        int result;    /* 0 or a negative errno; -EBUSY of JOB_RESTORE: there are holders and nothing was done */
        size_t failed; /* the device it failed for */
} Job;

/* One without devices, that has no descriptor. */
void job_init(Job *job, JobKind kind);
/* Does it work on its devices, so that nobody else may meanwhile? To look at one needs no lock, and is needed most when a worker is stuck
 * with it; to close one is no work on it. */
bool job_has_locks(const Job *job);

/* Binds a parked device to the lease's iommufd and leaves its descriptor in d->fd: as long as that is open the kernel counts its whole
 * group as owned by the lease (VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED). */
int job_anchor(Kernel *k, const Job *job, JobDevice *d);

/* The part of it that is in use. */
static inline size_t job_size(const Job *job) {
        return offsetof(Job, devices) + job->n_devices * sizeof(JobDevice);
}

const char *step_to_string(Step s);
