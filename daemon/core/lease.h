/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "core/facts.h"
#include "core/pasid.h"

/* A lease as a plain value: who has which devices and in which form. What is in here goes to the lease file, and a restarted
 * daemon needs nothing else to go on. */

typedef enum HandOver {
        HAND_OVER_UNBOUND,  /* iommufd and cdev descriptors, for the client to bind */
        HAND_OVER_ATTACHED, /* the same, bound and attached to an I/O address space */
        HAND_OVER_GROUP,    /* container and group descriptors: the legacy interface, the group claimed */
        HAND_OVER_NODE,     /* the client's user may open the group's node */
        HAND_OVER_NONE,     /* the lifeline only */
        _HAND_OVER_MAX,
} HandOver;

typedef enum LeaseState {
        LEASE_PREPARING,
        LEASE_ACTIVE,
        LEASE_RELEASING,
        LEASE_BROKEN, /* ... for too long: somebody does not let go; reason says who. When he does, it ends */
        _LEASE_STATE_MAX,
} LeaseState;

typedef enum Role {
        ROLE_LEASED, /* handed to the client */
        ROLE_PARKED, /* taken from its host driver, on a VFIO driver or pci-stub, handed to nobody */
        ROLE_HELD,   /* had no driver, and an override that matches nothing keeps it so */
        _ROLE_MAX,
} Role;

/* An override that no driver has: keeps a driverless member driverless whatever module is loaded. */
#define LEASE_HELD_OVERRIDE "iommud-held"

#define VF_TOKEN_MAX sizeof("00000000-0000-0000-0000-000000000000")

/* One device of a lease, from what it was before to where its release stands. */
typedef struct LeaseDevice {
        Address address;
        Role role;
        int group;
        Address set;                        /* the key of its reset set */
        char driver[NAME_MAX_LEN];          /* what the lease binds it to */
        char module[NAME_MAX_LEN];          /* which module has that driver, "" if unknown */
        char original_driver[NAME_MAX_LEN]; /* what it had before, "" for none */
        char original_override[NAME_MAX_LEN];
        bool opened; /* its cdev or its group was opened for the client, or may be opened by him (HAND_OVER_NODE) */
        bool taken;  /* the descriptor has left the daemon */
        bool closed; /* the last close was seen, which must be before it is unbound; not with HAND_OVER_NODE */
        int watch;   /* inotify watch descriptor, -1 for none */
        BoundFacts bound;
        uint32_t ioas, pt;           /* of an attached hand-over */
        char vf_token[VF_TOKEN_MAX]; /* what a physical function on VFIO and its virtual ones have in common, or "" */
        bool newcomer;               /* it appeared in the lease's group: the kernel has never chosen a driver for it */
        bool joining;                /* it is being added to an active lease */
        bool leaving;  /* it is on its way out of an active lease, by request or because its descriptor was closed */
        bool asked;    /* ... by request, or because it is pulled */
        bool pulled;   /* the kernel is taking it from its driver, and waits for the client: not by our doing */
        bool released; /* proven free of the lease */
} LeaseDevice;

#define LEASE_ID_LEN 32

typedef struct Lease {
        char id[LEASE_ID_LEN + 1]; /* 128 random bits in hexadecimal */
        uid_t uid;
        pid_t pid;
        uint64_t process;    /* as ProcessFacts.id, of the process with this pid at that time */
        char *unit, *cgroup; /* never NULL */
        char *charged;       /* where its PASIDs are booked: the cgroup, or the delegated one above it; never NULL */
        PasidChain chain;    /* from the cgroup up */
        char reservation[NAME_MAX_LEN]; /* "" for none */
        HandOver hand_over;
        LeaseState state;
        char reason[256];
        bool reset_set;   /* parked devices are bound to the lease's iommufd, so that the kernel calls them its own */
        bool restore;     /* give the devices back to their original drivers */
        bool per_process; /* memory accounting of the iommufd */
        uint64_t memlock; /* what the caller's RLIMIT_MEMLOCK is raised to, 0: left alone */
        uint32_t pasids;
        uint64_t created;         /* microseconds since the epoch */
        uint64_t revoke_deadline; /* likewise; 0: not revoked, and not ending either */
        LeaseDevice *devices;
        size_t n_devices;
} Lease;

/* lease_free() copes with NULL and returns it. */
Lease *lease_free(Lease *l);
DEFINE_CLEANUP(Lease, lease_free)

LeaseDevice *lease_device(const Lease *l, Address a);
/* On its way to its end, however long that takes. */
bool lease_is_ending(const Lease *l);
/* True when every device is proven free. */
bool lease_all_released(const Lease *l);

/* Whole groups are handed over, with every device in them that is on a VFIO driver. */
bool hand_over_is_legacy(HandOver h);
bool hand_over_has_iommufd(HandOver h);
const char *hand_over_to_string(HandOver h);
HandOver hand_over_from_string(const char *s); /* _HAND_OVER_MAX: none of them */
const char *lease_state_to_string(LeaseState s);
LeaseState lease_state_from_string(const char *s);
const char *role_to_string(Role role);
Role role_from_string(const char *s);
