/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"
#include "broker/lifeline.h"

/* A lease at run time: what it needs beyond the plain value, from Acquire until its release is proven. Private to the broker. */

typedef struct Preparation Preparation;

/* result: 0 or a negative errno of the kernel's. */
typedef void (*reset_done_t)(int result, ResetMethod method, void *userdata);

typedef void (*pasid_done_t)(int result, void *userdata);

/* Devices that are prepared and released together, see core/partition.h; one worker at a time is at work on them. */
typedef struct LeasePart {
        struct LeasePart *next; /* LeaseRun::parts */
        LeaseRun *run;
        Task *task;               /* at work, or in line */
        Preparation *preparation; /* while its devices are being made ready */
        reset_done_t reset_done;  /* while one of them is being reset */
        void *reset_userdata;
        pasid_done_t pasid_done; /* while a PASID is attached or detached */
        void *pasid_userdata;
} LeasePart;

typedef struct RunDevice {
        LeasePart *part;
        int fd;      /* not handed out yet; an attached lease keeps a copy, and so does a group one of its groups' */
        bool stored; /* systemd has a copy, see keep.h */
        bool hinted; /* it was closed for the last time, maybe, since a worker began to look */
        Holders holders; /* who has it open, as of the last look, */
        bool looked;     /* if there was one */
        Step refused;    /* what the last worker could not do to it, */
        int refusal;     /* a negative errno; 0: nothing */
} RunDevice;

typedef struct JobFailure {
        bool set;
        const char *error_name;
        char text[512];
} JobFailure;

/* added: the devices that became ready, NULL with error_name set. l is NULL if there is no lease (any more). */
typedef void (*acquire_done_t)(Lease *l, const AddressList *added, const char *error_name, const char *text,
                               void *userdata);

/* Devices on their way into a lease: those of Acquire, or those of one AddDevices. */
struct Preparation {
        Preparation *next; /* LeaseRun::preparations */
        LeaseRun *run;
        bool initial; /* of Acquire: without them there is no lease */
        bool force_in_use;
        AddressList devices;
        AddressList fresh; /* those that the lease did not have before, not even parked */
        AddressList stays; /* those whose groups the lease owned before: parked and not given back when they fail */
        JobFailure failure;
        acquire_done_t done; /* until it was called */
        void *userdata;
};

struct LeaseRun {
        LeaseRun *next; /* Broker::runs */
        bool enforced;  /* the gate knows it */
        Broker *broker;
        Lease *lease;
        Lifeline *lifeline;
        int lifeline_write; /* until it is handed out */
        int iommufd;        /* or container; until it is handed out; an attached or group lease keeps a copy */
        bool iommufd_stored;
        uint32_t ioas;
        RunDevice *devices; /* as lease->devices */
        LeasePart *parts;
        Preparation *preparations;
        Task *open_task; /* opens the iommufd */
        Task *holders_task;
        sd_event_source *timer;
        uint64_t timer_interval;
        RevokeRung rung; /* that was climbed last, see broker/revoke.h */
        sd_event_source *revoke_timer;
        Task *revoke_task; /* climbs the next */
        Task *ask_task;
        char revoke_reason[160];
        char end_reason[160]; /* asked to end while it was being prepared */
};

/* Makes the run of a lease that the ledger has; nothing is started. */
int run_new(Broker *b, Lease *l, LeaseRun **ret);
LeaseRun *run_free(LeaseRun *run);
DEFINE_CLEANUP(LeaseRun, run_free)
LeaseRun *run_find(const Broker *b, const Lease *l);

/* Who still has the device of this index of a lease open that is to go, as of the last look; NULL if nobody has looked. */
const Holders *run_holders(const Broker *b, const Lease *l, size_t i);
/* Is it on its way out of the lease, or is all of it? */
bool run_has_to_go(const LeaseRun *run, size_t i);
/* The lifeline that came with a call: is it this lease's? */
bool run_is_lifeline(const Broker *b, const Lease *l, int fd);

/* After ledger_join(): the new devices, from index first on, get their parts. -EBUSY: one of them belongs to a part at which a
 * worker is. */
int run_extend(LeaseRun *run, size_t first);

/* A job over the devices that wanted says yes to. */
typedef bool (*run_wanted_t)(const LeaseRun *run, size_t i, const void *userdata);
void run_make_job(const LeaseRun *run, JobKind kind, run_wanted_t wanted, const void *userdata, Job *ret);
/* What the job found out goes back into the lease; its descriptors into the run. */
void run_take_results(LeaseRun *run, Job *job);
/* Any worker at work for it? */
bool run_is_busy(const LeaseRun *run);
/* Writes the lease file; a failure is logged, since nothing that was granted can be taken back for it. */
void run_save(const LeaseRun *run);

static inline size_t run_index(const LeaseRun *run, const LeaseDevice *d) {
        return (size_t) (d - run->lease->devices);
}
