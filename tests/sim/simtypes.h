/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <setjmp.h>

#include "core/inventory.h"
#include "kernel/kernel.h"
#include "worker/job.h"

/* What the simulated machine of simkernel.h consists of. Nothing in it is hidden: tests look at the truth to judge what the daemon
 * believes. */

/* Processes. Clients are numbered from SIM_PID_CLIENT on. */
enum {
        SIM_PID_FLIGHT, /* no process: the descriptor lies in a socket's queue */
        SIM_PID_DAEMON,
        SIM_PID_FOREIGN, /* somebody who has nothing to do with us */
        SIM_PID_WORKER,  /* + how many others sleep meanwhile */
        SIM_PID_CLIENT = 100,
        SIM_PID_HUNG = 1 << 24, /* + device: a killed worker that the kernel does not let die yet */
};

typedef enum SimFault {
        SIM_FAULT_NONE,
        SIM_FAULT_ERRNO,  /* the operation fails and has no effect */
        SIM_FAULT_DELAY,  /* it takes long: the rest of the world goes on meanwhile */
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
        SIM_BREACH_RESCAN_LOCK,   /* a virtual function was to be removed while somebody had it open */
        SIM_BREACH_WORKER_LEAK,   /* a worker ended with a descriptor that it has not told of */
        SIM_BREACH_IN_USE,        /* the host lost what it used, and nobody had asked for that */
        _SIM_BREACH_MAX,
} SimBreach;

/* A client's process, of which more is to be known than that it holds descriptors. */
typedef struct SimProcess {
        ProcessFacts facts;
        bool immortal; /* killed, and asleep in the kernel with what it has */
        bool killed;
} SimProcess;

#define SIM_PROCESSES_MAX 40

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
        bool removes; /* takes the virtual functions with it when it lets go of the physical one */
} SimDriver;

typedef struct SimGroup {
        int id;
        unsigned n_present; /* members that are there */
        unsigned n_host;    /* members under a driver that uses the DMA API */
        uint64_t owner;     /* serial of the iommufd or container that claims it, 0 for none */
        unsigned n_claims;  /* bound devices, or the group file with its container */
        unsigned n_vfio;    /* members under VFIO drivers: with the first the node comes, with the last it goes */
        unsigned generation;
        int open_file; /* of its node, -1 for none */
        int watch;
        uid_t user;        /* who may open the node */
        bool direct;       /* has a direct region */
        bool no_isolation; /* interrupts are not isolated */
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
        unsigned n_pulled;
        bool unbinding; /* its driver is letting go of it: sysfs shows none any more */
        SimLock lock;
        unsigned generation; /* of its registration with VFIO */
        int watch;           /* inotify watch on its node, 0 for none */
        unsigned n_open;     /* open files */
        int first_file;      /* of its list, -1 at the end */
        int bound_file;      /* -1 for none */
        bool dirty;          /* a client had it since the last reset */
        bool listened;       /* whoever has it bound has armed the device request... */
        unsigned n_requests; /* ... and got so many */
        uint8_t pasid_bits;  /* what it and the IOMMU can do together */
        bool in_use;         /* the host has a file system on it, or the like */
        bool resets_bus;     /* its bus can be reset for it, while it is alone there */
        bool no_autoprobe;   /* of a physical function: its virtual ones get drivers by override only */
        char vf_token[VF_TOKEN_MAX];
} SimDevice;

/* What an iommufd has in it: the kind is in the lowest bits of the id. */
typedef enum SimObject {
        SIM_OBJECT_TABLE, /* that the kernel made for an I/O address space, and of the same number; it goes with its last device */
        SIM_OBJECT_IOAS,
        SIM_OBJECT_DEVICE,
        SIM_OBJECT_PASID_TABLE,
        _SIM_OBJECT_MAX,
} SimObject;

#define SIM_OBJECT_SHIFT 2
#define SIM_OBJECT_KINDS 3

typedef struct SimPasid {
        uint32_t number;
        uint32_t table;
        uint64_t charged; /* serial of the lease that the gate has charged, 0 for none */
} SimPasid;

#define SIM_PASIDS_MAX 16

typedef struct SimFile {
        int device; /* -1: none */
        int group;  /* of a group's node, else -1 */
        int via;    /* the group's file by which a device was opened, -1 for none */
        bool is_container;
        bool has_type; /* of a container */
        unsigned generation;
        uint64_t serial; /* of an iommufd or container */
        uint64_t bound;  /* serial of the iommufd or container that device or group are bound to, 0 for none */
        unsigned n_fds;
        int iommufd;     /* of a bound device, or of a group: the file of its iommufd or container */
        unsigned n_pins; /* devices that were opened by this group, or are bound to this iommufd */
        uint32_t n_objects[_SIM_OBJECT_MAX]; /* of an iommufd */
        uint32_t attached;                   /* the table of a device, 0 for none */
        unsigned tag;                        /* for tests: the lease that it was opened for */
        uint64_t process;                    /* of a pidfd: the process's id */
        SimPasid pasids[SIM_PASIDS_MAX];
        unsigned n_pasids;
        int next_of_device; /* also chains the unused ones */
} SimFile;

typedef struct SimFd {
        int file; /* -1: not open */
        int pid;
} SimFd;

/* What the gate knows of a lease, and of a cgroup. */
typedef struct SimGateLease {
        uint64_t serial;
        GateLease rule;
        PasidCounts counts;
        bool dropped; /* its PASIDs are still counted */
} SimGateLease;

typedef struct SimGateLevel {
        uint64_t id;
        PasidCounts counts;
} SimGateLevel;

/* A process that runs a job. */
typedef struct SimWorker {
        jmp_buf escape;
        const Job *job;
        int pid;
        unsigned long at; /* the place of its operation in the trace */
} SimWorker;

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
        SimProcess processes[SIM_PROCESSES_MAX];
        size_t n_processes;
        char killed_cgroup[CGROUP_PATH_MAX]; /* the last one, "" for none */
        bool no_iommufd;
        bool no_pasid_tables;      /* the IOMMU has none */
        bool vfio_makes_functions; /* vfio-pci's enable_sriov */

        SimFile *files;
        size_t n_files;
        int unused_file;
        SimFd *fds;
        size_t n_fds, first_unused;
        uint64_t serial;
        int watches;

        bool gate_loaded, gate_open;
        SimGateLease *gate_leases;
        size_t n_gate_leases;
        SimGateLevel *gate_levels;
        size_t n_gate_levels;

        SimWorker *worker;        /* the one that runs, NULL for none */
        const SimDevice *hung_at; /* the last one that hung, NULL: at no device */
        unsigned n_workers;       /* it, and those that sleep in an operation that takes long */
        unsigned long n_hotplugs; /* devices that came or went */
        unsigned long n_jobs, n_ops, n_faults[_SIM_FAULT_MAX];
        unsigned job_ops; /* of this job, or the last */
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
        /* Told of each process that a worker kills, before it has lost anything. */
        void (*on_kill)(void *userdata, const SimProcess *p, bool whole_cgroup);
        /* Called in the middle of jobs, once in so many operations: the rest of the world does not wait. */
        void (*meanwhile)(void *userdata);
        unsigned meanwhile_rate;
        /* Called while an operation takes long; may run other jobs. */
        void (*delayed)(void *userdata);
        void *userdata;
} Sim;
