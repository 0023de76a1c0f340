/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"
#include "broker/lifeline.h"

/* A lease at run time: what it needs beyond the plain value, from Acquire until its release is proven. Private to the broker. */

/* Devices that are prepared and released together, see core/partition.h. */
typedef struct LeasePart {
        LeaseRun *run;
        Task *task;    /* a worker is at work on it, or in line */
        bool prepared; /* or recovered: there is something to release */
        bool done;     /* released */
} LeasePart;

typedef struct JobFailure {
        bool set;
        const char *error_name;
        char text[512];
} JobFailure;

typedef void (*acquire_done_t)(Lease *l, const char *error_name, const char *text, void *userdata);

struct LeaseRun {
        LeaseRun *next; /* Broker::runs */
        Broker *broker;
        Lease *lease;
        Lifeline *lifeline;
        int lifeline_write; /* until it is handed out */
        int iommufd;        /* until it is handed out; an attached lease keeps a copy */
        uint32_t ioas;
        int *fds;           /* as lease->devices: what is not handed out yet; an attached lease keeps copies */
        size_t *part_of;    /* as lease->devices: the part that it belongs to */
        LeasePart *parts;
        size_t n_parts;
        Task *open_task;    /* opens the iommufd */
        Task *holders_task;
        Holders *holders;   /* as lease->devices: who still has it, as of the last look */
        sd_event_source *timer;
        uint64_t timer_interval;
        sd_event_source *revoke_timer;
        char revoke_reason[160];
        acquire_done_t done; /* until it was called */
        void *done_userdata;
        JobFailure failure;
        char end_reason[160]; /* asked to end while it was being prepared */
};

/* Takes the lease over as the ledger does: its parts are computed, nothing is started. */
int run_new(Broker *b, Lease *l, LeaseRun **ret);
LeaseRun *run_free(LeaseRun *run);
DEFINE_CLEANUP(LeaseRun, run_free)
LeaseRun *run_find(const Broker *b, const Lease *l);

/* A job over one part of the lease, or over all of it (part == SIZE_MAX). */
void run_make_job(const LeaseRun *run, JobKind kind, size_t part, Job *ret);
/* What the job found out goes back into the lease; its descriptors into the run. */
void run_take_results(LeaseRun *run, Job *job);
/* Any worker at work for it? */
bool run_is_busy(const LeaseRun *run);
/* Closes all descriptors of the client's that the daemon still has. */
void run_close_fds(LeaseRun *run);
/* Writes the lease file; a failure is logged, since nothing that was granted can be taken back for it. */
void run_save(const LeaseRun *run);
