/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "sim/model.h"

/* How deep jobs can be nested: each runs while an operation of another takes long. */
#define JOBS_MAX 3

/* A daemon in small around the real ledger, examination and worker logic, and the world around it: clients and the
 * host. What it does is what DESIGN.md, "A lease, step by step", tells of the real one, one random step at a time. */

#define TENANT_DEVICES 64
#define SIM_CGROUPS    6

/* A lease, with what a daemon has of it besides. */
typedef struct Tenant {
        Lease *lease;
        Lease *saved; /* the lease file */
        unsigned serial;
        int client;
        bool busy;  /* a worker is at it */
        bool stale; /* planned on old facts */
        RevokeRung rung;
        uint64_t timer;           /* of its revocation, in seconds; 0 for none */
        unsigned long n_hotplugs; /* when it was planned */
        bool force_in_use;        /* the last request said so */
        bool handed;
        bool blind; /* no close event can be trusted any more: look for holders, then unbind */
        int iommufd;
        uint32_t ioas;
        /* In the order of the lease's devices. */
        int fds[TENANT_DEVICES];
        bool hinted[TENANT_DEVICES]; /* a close was seen since the worker began to look */
        size_t part[TENANT_DEVICES];
        size_t n_parts;
} Tenant;

typedef struct SimDaemon {
        Sim *sim;
        Model model;
        Ledger ledger;
        Config config;
        VariantTable variants;
        Tenant **tenants;
        size_t n_tenants;
        uint64_t random;
        unsigned serial;
        int next_pid;
        uint64_t next_process, now; /* in seconds */
        const Tenant *killing;      /* for whose sake */
        bool stale;                 /* the last plan was made on old facts */
        bool starting;
        unsigned long faults_before; /* the job that is at work */
        bool faulted;                /* the last job met with a fault */
        unsigned long seen_hotplugs;
        unsigned *seen_pulled;        /* of each device */
        const SimDevice **stuck_at;   /* likewise: where the worker hangs that has it */
        uint64_t limits[SIM_CGROUPS]; /* of PASIDs */
        Job jobs[JOBS_MAX];
        unsigned depth; /* the job that is worked on, or would be next */
        unsigned long n_leases, n_refused, n_failed, n_hung, n_died, n_restarts, n_broken, n_busy, n_over_quota,
                n_nested;
        unsigned long n_joined, n_left, n_resets, n_pasids_refused, n_changes, n_hot_resets, n_killed, n_given_up;
} SimDaemon;

/* simdaemon.c: leases begin, and the daemon starts again */
void daemon_init(SimDaemon *d, Sim *s);
void daemon_clear(SimDaemon *d);
unsigned daemon_below(SimDaemon *d, unsigned n);
bool daemon_acquire(SimDaemon *d);
/* One part of a plan: all of a new lease, or those that join; stays: of a group that was the lease's before, NULL for a new lease;
 * fresh: which of them are new to it. */
SimOutcome daemon_prepare_part(SimDaemon *d, Tenant *t, size_t part, const AddressList *stays,
                               const AddressList *fresh);
void daemon_divide(Tenant *t);
void daemon_restart(SimDaemon *d);
/* What udev tells. */
void daemon_sync_hotplug(SimDaemon *d);
void daemon_refresh(SimDaemon *d, SimDevice *sd);
Tenant *daemon_tenant(const SimDaemon *d, const Lease *l);
void daemon_save(Tenant *t);

/* simrequest.c: what is asked for */
/* What a client asks for who wants these and neighbours of theirs. */
void daemon_build_request(SimDaemon *d, unsigned at, HandOver hand_over, Request *ret);
/* Findings and a plan, on fresh facts mostly. */
bool daemon_examine(SimDaemon *d, const Caller *caller, const Request *request, Plan *ret);

/* simjob.c: jobs and locks */
/* An empty job of this kind. */
Job *daemon_job(SimDaemon *d, JobKind kind, HandOver hand_over);
SimOutcome daemon_run(SimDaemon *d, Job *job);
/* With nothing else meanwhile, so that what it finds can be compared with what is. */
SimOutcome daemon_run_alone(SimDaemon *d, Job *job);
/* In the middle of a job: has anything else happened since it began? */
bool daemon_is_undisturbed(const SimDaemon *d);
/* Is another worker at it? */
bool daemon_is_locked(SimDaemon *d, const LeaseDevice *ld);
bool daemon_is_any_locked(SimDaemon *d, const Job *job);

/* simquota.c: cgroups and their limits */
void simquota_init(SimDaemon *d);
const char *simquota_cgroup(SimDaemon *d);
bool simquota_is_within(const char *path, const char *cgroup);
/* An administrator sets another limit somewhere. */
void simquota_change(SimDaemon *d);
/* After a restart: the limits are read again. */
void simquota_restore(SimDaemon *d);
/* PASIDs are refused if and only if there is no room. */
void simquota_check_answer(SimDaemon *d, const Caller *caller, uint32_t wanted, const Findings *findings);
/* What is booked is what the leases have. */
void simquota_check(SimDaemon *d);

/* simrelease.c: leases end */
void release_begin(SimDaemon *d, Tenant *t, const char *reason);
/* Runs JOB_RESTORE for the parts for which the time has come. Returns true if the tenant is gone. */
bool release_go_on(SimDaemon *d, Tenant *t);
/* Ends the lease if all of it is released. */
bool release_end(SimDaemon *d, Tenant *t);
/* With a daemon that is killed. */
void release_close_fds(SimDaemon *d, Tenant *t);
/* What the daemon has of a part. */
typedef bool (*close_wanted_t)(const SimDaemon *d, const Tenant *t, size_t i);
void release_close(SimDaemon *d, Tenant *t, close_wanted_t wanted, size_t part);
/* What the device is meant to be when it has left the lease. */
void release_settle(SimDaemon *d, bool restored, const LeaseDevice *ld);

/* simjoin.c: devices join and leave a lease that goes on */
void join_some(SimDaemon *d, Tenant *t);
void join_leave_some(SimDaemon *d, Tenant *t);
/* After a restart: what was joining was never handed out. */
void join_expel_all(Lease *l);
/* A device leaves the lease, and is nobody's. */
void join_drop(SimDaemon *d, Tenant *t, Address a);

/* simpasid.c: the gate, and what is attached */
void simpasid_start(SimDaemon *d);
void simpasid_tell(SimDaemon *d, const Tenant *t);
void simpasid_end(SimDaemon *d, const Tenant *t);
/* A client asks the daemon to attach or detach one, or does so himself. */
void simpasid_order(SimDaemon *d, Tenant *t, size_t i);
void simpasid_client(SimDaemon *d, int fd, int iommufd);
/* No lease has more than it has booked. */
void simpasid_check(SimDaemon *d);

/* simlook.c: what workers look at */
void simlook_setup(SimDaemon *d);
/* What the host uses of these. False if that is not known. */
bool simlook_uses(SimDaemon *d, const AddressList *scope);
void simlook(SimDaemon *d);

/* simset.c: leases with whole reset sets */
/* Are parked devices to be bound to the lease's iommufd? */
void simset_anchor(const Tenant *t, Job *job);
/* At its holder's wish, by a descriptor that the daemon has. */
void simset_reset(SimDaemon *d, Tenant *t, size_t i);
/* After a preparation, and after a JOB_RESTORE that has a result. */
void simset_check(SimDaemon *d, const Tenant *t);
void simset_check_parked(SimDaemon *d, const Job *job);

/* simrevoke.c: leases are taken back, and processes killed for it */
void simrevoke_init(SimDaemon *d);
/* What is done at the deadline of a new lease. */
const char *simrevoke_reservation(SimDaemon *d);
void simrevoke_start(SimDaemon *d, Tenant *t);
/* Whoever ends his lease himself has a deadline, too. */
void simrevoke_expect(SimDaemon *d, Tenant *t);
void simrevoke_resume(SimDaemon *d, Tenant *t);
void simrevoke_pass_time(SimDaemon *d);
/* The numbers of new processes. */
int simrevoke_process(SimDaemon *d, uid_t uid, const char *cgroup);
int simrevoke_child(SimDaemon *d, int parent);
bool simrevoke_lives(SimDaemon *d, int pid);
void simrevoke_end_process(SimDaemon *d, int pid);

/* simvirtual.c: virtual functions */
void simvirtual_change(SimDaemon *d);
void simvirtual_give_tokens(const SimDaemon *d, LeaseDevice *devices, size_t n);
/* Of a worker that was to unbind a physical function nothing is on disk: what it did to the virtual ones, stays. */
void simvirtual_note_fault(SimDaemon *d, const Job *job);

/* simworld.c: clients and the host */
void world_hand_over(SimDaemon *d, Tenant *t);
/* What is new of it. */
void world_hand_out(SimDaemon *d, Tenant *t, size_t i);
/* The client asks the daemon to do something with what he has. */
void world_wish(SimDaemon *d, Tenant *t);
void world_client(SimDaemon *d);
void world_host(SimDaemon *d);
void world_meanwhile(void *userdata);
/* Everybody closes what is open, hung workers end, broken devices are mended. */
void world_calm_down(SimDaemon *d);
