/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <setjmp.h>

#include "kernel/kernel.h"
#include "worker/job.h"

/* A machine in memory behind the table of kernel operations: devices, drivers, IOMMU groups, descriptors and who holds
 * them, by the rules of Linux 7.2. Nothing in it is hidden: tests look at the truth to judge what the daemon believes.
 *
 * An operation that would block for ever leaves job_run() by longjmp, as a worker would that is killed while it sleeps
 * in the kernel: what was done stays done. The worker logic allocates nothing, so nothing is lost by that. */

/* Processes. Clients are numbered from SIM_PID_CLIENT on. */
enum {
        SIM_PID_FLIGHT, /* no process: the descriptor lies in a socket's queue */
        SIM_PID_DAEMON,
        SIM_PID_WORKER,
        SIM_PID_FOREIGN, /* somebody who has nothing to do with us */
        SIM_PID_CLIENT = 100,
        SIM_PID_HUNG = 1 << 24, /* + device: a killed worker that the kernel does not let die yet */
};

typedef enum SimFault {
        SIM_FAULT_NONE,
        SIM_FAULT_ERRNO,  /* the operation fails and has no effect */
        SIM_FAULT_HANG,   /* the operation sleeps, with the device locked, until sim_unlock() */
        SIM_FAULT_VANISH, /* the device is pulled just before */
        SIM_FAULT_DEATH,  /* the worker is killed just before */
        _SIM_FAULT_MAX,
} SimFault;

typedef enum SimOutcome {
        SIM_DONE = 1, /* the job has a result */
        SIM_HUNG,     /* it has none: its worker sleeps in the kernel */
        SIM_DIED,     /* it has none: its worker was killed */
} SimOutcome;

/* What went wrong in the machine and no return value tells. */
typedef enum SimBreach {
        SIM_BREACH_NONE,
        SIM_BREACH_RESET_ON_HOST, /* a device was reset under its host driver */
        SIM_BREACH_RESET_OPEN,    /* a device was reset while somebody had it open */
        SIM_BREACH_DIRTY,         /* a host driver got a device as a client left it, though it can be reset */
        SIM_BREACH_BAD_CLOSE,     /* a descriptor was closed that is not open */
        SIM_BREACH_WORKER_LEAK,   /* a worker ended with a descriptor that it has not told of */
        _SIM_BREACH_MAX,
} SimBreach;

typedef enum SimLock {
        SIM_UNLOCKED,
        SIM_LOCKED_BY_FILES, /* unbind waits for the last descriptor */
        SIM_LOCKED_BY_FAULT, /* until sim_unlock() */
} SimLock;

typedef struct SimDriver {
        char name[NAME_MAX_LEN], module[NAME_MAX_LEN];
        DriverKind kind;
        bool loaded;
        bool missing; /* there is no such module to load */
} SimDriver;

typedef struct SimGroup {
        int id;
        unsigned n_present; /* members that are there */
        unsigned n_host;    /* members under a driver that uses the DMA API */
        uint64_t owner;     /* serial of the iommufd that claims it, 0 for none */
        unsigned n_claims;  /* bound devices */
        bool direct;        /* has a direct region */
        bool no_isolation;  /* interrupts are not isolated */
} SimGroup;

typedef struct SimDevice {
        DeviceFacts facts; /* what never changes of them */
        int group;
        int host;        /* driver that has the device in its table, -1 for none */
        int variant;     /* VFIO variant driver that takes it, -1 for none */
        bool dynamic_id; /* vfio-pci was told to take it (new_id, vfio-pci.ids=) */
        int driver;      /* -1 for none */
        char override[NAME_MAX_LEN];
        bool present;
        bool unbinding; /* its driver is letting go of it: sysfs shows none any more */
        SimLock lock;
        unsigned generation; /* of its registration with VFIO */
        int watch;           /* inotify watch on its node, 0 for none */
        unsigned n_open;     /* open files */
        int first_file;      /* of its list, -1 at the end */
        int bound_file;      /* -1 for none */
        bool dirty;          /* a client had it since the last reset */
} SimDevice;

typedef struct SimFile {
        int device; /* -1: an iommufd */
        unsigned generation;
        uint64_t serial; /* of an iommufd */
        uint64_t bound;  /* serial of the iommufd that the device is bound to, 0 for none */
        unsigned n_fds;
        uint32_t next_id; /* of an iommufd's objects */
        uint32_t attached;
        unsigned tag;       /* for tests: the lease that it was opened for */
        int next_of_device; /* also chains the unused ones */
} SimFile;

typedef struct SimFd {
        int file; /* -1: not open */
        int pid;
} SimFd;

#define SIM_TRACE 64 /* a power of two */

typedef struct SimTrace {
        const char *op;
        Address address;
        int result;
        unsigned long job;
} SimTrace;

typedef struct Sim {
        Kernel kernel;
        uint64_t random;
        SimDevice *devices; /* in the order of their addresses */
        size_t n_devices;
        SimGroup *groups;
        size_t n_groups;
        int *group_of_id;
        size_t n_ids;
        SimDriver *drivers;
        size_t n_drivers;
        bool no_iommufd;

        SimFile *files;
        size_t n_files;
        int unused_file;
        SimFd *fds;
        size_t n_fds, first_unused;
        uint64_t serial;
        int watches;

        bool in_job;
        jmp_buf escape;
        unsigned long n_hotplugs; /* devices that came or went */
        unsigned long n_jobs, n_ops, n_faults[_SIM_FAULT_MAX];
        unsigned job_ops; /* of this job */
        SimFault planned; /* at operation planned_at of every job, until it is called off; operations count from 1 */
        unsigned planned_at;
        int planned_error;
        unsigned rate; /* one fault in so many operations, 0 for none */
        unsigned n_breaches[_SIM_BREACH_MAX];
        Address breached; /* the last one */
        SimTrace trace[SIM_TRACE];
        unsigned long n_trace;

        /* Told when the last descriptor of a watched device's file is closed, and when the kernel has bound a driver by
         * itself. */
        void (*on_close)(void *userdata, Address a, int watch);
        void (*on_probed)(void *userdata, SimDevice *d);
        /* Called in the middle of jobs, once in so many operations: the rest of the world does not wait. */
        void (*meanwhile)(void *userdata);
        unsigned meanwhile_rate;
        void *userdata;
} Sim;

/* simkernel.c: the operations and the running of jobs */
SimOutcome sim_run(Sim *s, Job *job);
void sim_plan_fault(Sim *s, unsigned at, SimFault fault, int error); /* at 0: none */
uint64_t sim_random(uint64_t *state);
/* A number below n. */
unsigned sim_below(uint64_t *state, unsigned n);
const char *sim_breach_to_string(SimBreach b);

/* sim-device.c: devices, drivers and groups */
SimDevice *sim_device(Sim *s, Address a); /* NULL if there never was one */
int sim_driver(const Sim *s, const char *name);
const char *sim_driver_name(const Sim *s, const SimDevice *d); /* as sysfs shows it */
DriverKind sim_driver_kind(const Sim *s, const SimDevice *d);  /* the truth, also while it is being unbound */
int sim_attach_driver(Sim *s, SimDevice *d, int driver);
void sim_detach_driver(Sim *s, SimDevice *d);
bool sim_matches(const Sim *s, const SimDevice *d, int driver);
void sim_probe(Sim *s, SimDevice *d);
int sim_load(Sim *s, const char *module);
void sim_unload(Sim *s, int driver);
/* As an administrator does it, who does not wait: with open descriptors the unbind goes on behind his back. */
void sim_unbind(Sim *s, SimDevice *d);
void sim_unlock(Sim *s, SimDevice *d);
void sim_vanish(Sim *s, SimDevice *d);
/* Puts it back, if every descriptor of the one that was pulled is closed. regroup: with another group number, maybe. */
bool sim_appear(Sim *s, SimDevice *d, bool regroup);
void sim_breach(Sim *s, SimBreach b, const SimDevice *d);

/* sim-file.c: descriptors, and what processes do with them */
int sim_open_device(Sim *s, SimDevice *d, int pid);
int sim_open_iommufd(Sim *s, int pid);
int sim_bind(Sim *s, int fd, int iommufd, BoundFacts *ret);
int sim_attach(Sim *s, int fd, uint32_t *pt);
SimFile *sim_file(Sim *s, int fd); /* NULL: not open */
int sim_close(Sim *s, int fd);
int sim_client_dup(Sim *s, int fd, int pid); /* the same file, held by another process; SIM_PID_FLIGHT: by none */
void sim_client_die(Sim *s, int pid);
unsigned sim_count_fds(const Sim *s, int pid);
/* The next open descriptor of a process after fd (begin with -1), or -1. */
int sim_next_fd(const Sim *s, int pid, int fd);
void sim_find_holders(Sim *s, const SimDevice *d, Holders *ret);

/* sim-topology.c: machines */
typedef struct SimTopology {
        uint64_t seed;
        unsigned n_devices;
        bool no_iommufd;
} SimTopology;

Sim *sim_new(const SimTopology *t); /* a random machine; n_devices 0: an empty one */
Sim *sim_free(Sim *s);
DEFINE_CLEANUP(Sim, sim_free)

int sim_add_driver(Sim *s, const char *name, const char *module, DriverKind kind, bool loaded);
int sim_add_group(Sim *s);
/* Adds a device without a driver; the address must be above all that are there. */
SimDevice *sim_add_device(Sim *s, const char *address, int group, const char *host);
