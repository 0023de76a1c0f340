/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"
#include "broker/lifeline.h"

/* A lease at run time: what it needs beyond the plain value, from Acquire until its release is proven. Private to the broker. */

typedef struct Preparation Preparation;

/* Devices that are prepared and released together, see core/partition.h; one worker at a time is at work on them. */
typedef struct LeasePart {
        struct LeasePart *next; /* LeaseRun::parts */
        LeaseRun *run;
        Task *task;               /* at work, or in line */
        Preparation *preparation; /* while its devices are being made ready */
} LeasePart;

typedef struct RunDevice {
        LeasePart *part;
        int fd;          /* not handed out yet; an attached lease keeps a copy */
        bool asked;      /* its holder asked for it to leave; otherwise it leaves because it was closed */
        Holders holders; /* who has it open, as of the last look */
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
        AddressList devices;
        AddressList fresh; /* those that the lease did not have before, not even parked */
        AddressList stays; /* those whose groups the lease owned before: parked and not given back when they fail */
        JobFailure failure;
        acquire_done_t done; /* until it was called */
        void *userdata;
};

struct LeaseRun {
        LeaseRun *next; /* Broker::runs */
        Broker *broker;
        Lease *lease;
        Lifeline *lifeline;
        int lifeline_write; /* until it is handed out */
        int iommufd;        /* until it is handed out; an attached lease keeps a copy */
        uint32_t ioas;
        RunDevice *devices; /* as lease->devices */
        LeasePart *parts;
        Preparation *preparations;
        Task *open_task; /* opens the iommufd */
        Task *holders_task;
        sd_event_source *timer;
        uint64_t timer_interval;
        sd_event_source *revoke_timer;
        char revoke_reason[160];
        char end_reason[160]; /* asked to end while it was being prepared */
};

/* Makes the run of a lease that the ledger has; nothing is started. */
int run_new(Broker *b, Lease *l, LeaseRun **ret);
LeaseRun *run_free(LeaseRun *run);
DEFINE_CLEANUP(LeaseRun, run_free)
LeaseRun *run_find(const Broker *b, const Lease *l);

/* After ledger_join(): the new devices, from index first on, get their parts. -EBUSY: one of them belongs to a part at which a
 * worker is. */
int run_extend(LeaseRun *run, size_t first);
/* Lets a device leave the lease and the ledger. */
void run_drop_device(LeaseRun *run, Address a);

/* A job over the devices that wanted says yes to. */
typedef bool (*run_wanted_t)(const LeaseRun *run, size_t i, const void *userdata);
void run_make_job(const LeaseRun *run, JobKind kind, run_wanted_t wanted, const void *userdata, Job *ret);
/* What the job found out goes back into the lease; its descriptors into the run. */
void run_take_results(LeaseRun *run, Job *job);
/* Any worker at work for it? */
bool run_is_busy(const LeaseRun *run);
/* Closes all descriptors of the client's that the daemon still has. */
void run_close_fds(LeaseRun *run);
/* Writes the lease file; a failure is logged, since nothing that was granted can be taken back for it. */
void run_save(const LeaseRun *run);

static inline size_t run_index(const LeaseRun *run, const LeaseDevice *d) {
        return (size_t) (d - run->lease->devices);
}
