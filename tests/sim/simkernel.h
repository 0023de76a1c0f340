/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "sim/simtypes.h"

/* A machine in memory behind the table of kernel operations: devices, drivers, IOMMU groups, descriptors and who holds
 * them, by the rules of Linux 7.2.
 *
 * An operation that would block for ever leaves work_run() by longjmp, as a worker would that is killed while it sleeps
 * in the kernel: what was done stays done, and what it had allocated, which is nothing but a list of devices now and then, is lost. */

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
bool sim_has_node(const Sim *s, const SimDevice *d); /* a VFIO character device */
uint64_t sim_cdev_number(const Sim *s, const SimDevice *d);

/* sim-virtual.c: SR-IOV */
SimDevice *sim_physical_function(Sim *s, const SimDevice *d); /* NULL if it is no virtual one */
/* The i-th of those that are or could be there; NULL at the end. */
SimDevice *sim_virtual_function(Sim *s, const SimDevice *pf, unsigned i);
/* The first n of those. */
#define SIM_FOREACH_FUNCTION(s, pf, n, vf)                                                                             \
        for (unsigned _i_##vf = 0; _i_##vf < (n) && ((vf) = sim_virtual_function(s, pf, _i_##vf)); _i_##vf++)
/* held: the one whose holder the kernel waits for. */
int sim_set_virtual_functions(Sim *s, SimDevice *pf, uint32_t n, SimDevice **ret_held);
/* A physical function takes the token; a virtual one whose physical one is on VFIO wants that one: -EACCES. */
int sim_show_token(Sim *s, SimDevice *d, const char *vf_token);
void sim_remove_virtual_functions(Sim *s, SimDevice *pf, SimDevice **ret_held);
void sim_forget_virtual_functions(Sim *s, SimDevice *pf); /* without a wait: it is pulled, or none of them is held */

/* sim-file.c: descriptors, and what processes do with them */
int sim_open_device(Sim *s, SimDevice *d, int pid);
int sim_new_file(Sim *s, int device, int pid); /* returns a descriptor of it */
int sim_open_iommufd(Sim *s, int pid);
bool sim_is_iommufd(const SimFile *f);
SimDevice *sim_device_of_fd(Sim *s, int fd); /* NULL if it is of no device */
uint32_t sim_new_object(SimFile *iommufd, SimObject kind);
bool sim_has_object(const SimFile *iommufd, uint32_t id, SimObject kind);
int sim_bind(Sim *s, int fd, int iommufd, BoundFacts *ret);
SimFile *sim_file(Sim *s, int fd); /* NULL: not open */
int sim_close(Sim *s, int fd);
int sim_client_dup(Sim *s, int fd, int pid); /* the same file, held by another process; SIM_PID_FLIGHT: by none */
void sim_client_die(Sim *s, int pid);
unsigned sim_count_fds(const Sim *s, int pid);
/* The next open descriptor of a process after fd (begin with -1), or -1. */
int sim_next_fd(const Sim *s, int pid, int fd);
/* Is it of the device, or of its group? */
bool sim_is_of(const Sim *s, const SimFd *fd, const SimDevice *d);
void sim_find_holders(Sim *s, const SimDevice *d, Holders *ret);

/* sim-reset.c */
int sim_reset_open(Sim *s, int fd);
int sim_hot_reset(Sim *s, int fd);
/* What VFIO says of resets to whoever has it open. */
void sim_read_reset_facts(const Sim *s, const SimDevice *d, const SimFile *f, BoundFacts *ret);

/* sim-pasid.c and sim-gate.c: page tables, PASIDs, and who is charged for them */
int sim_attach(Sim *s, int fd, uint32_t *pt);
void sim_detach_all_pasids(Sim *s, SimFile *f);
/* -EDQUOT: the lease of the device has all that it may. */
int sim_gate_admit(Sim *s, const SimDevice *d);
/* Returns the serial of the lease, 0 for none. */
uint64_t sim_gate_charge(Sim *s, const SimDevice *d);
void sim_gate_discharge(Sim *s, uint64_t charged);

/* sim-process.c: processes and how they end */
SimProcess *sim_add_process(Sim *s, int pid, uid_t uid, uint64_t id, const char *cgroup);
SimProcess *sim_process(Sim *s, int pid); /* NULL: nothing is known of it */
uint64_t sim_cgroup_id(const char *path);

/* sim-legacy.c: the same by containers and groups */
int sim_open_container(Sim *s, int pid);
int sim_open_group(Sim *s, SimGroup *g, int pid);
int sim_set_container(Sim *s, int group_fd, int container_fd);
int sim_open_by_group(Sim *s, int group_fd, int container_fd, SimDevice *d, int pid);
void sim_release_group(Sim *s, int file);          /* with its last descriptor and its last device */
SimGroup *sim_group_of_number(Sim *s, int number); /* NULL: there is none of this number now */
void sim_group_gained(SimGroup *g);                /* a member is under a VFIO driver now */
void sim_group_lost(Sim *s, SimGroup *g);

/* sim-topology.c: machines */
typedef struct SimTopology {
        uint64_t seed;
        unsigned n_devices;
        bool no_iommufd;
        bool vfio_makes_functions;
} SimTopology;

Sim *sim_new(const SimTopology *t); /* a random machine; n_devices 0: an empty one */
Sim *sim_free(Sim *s);
DEFINE_CLEANUP(Sim, sim_free)

int sim_add_driver(Sim *s, const char *name, const char *module, DriverKind kind, bool loaded);
int sim_add_group(Sim *s);
/* Adds a device without a driver; the address must be above all that are there. */
SimDevice *sim_add_device(Sim *s, const char *address, int group, const char *host);
