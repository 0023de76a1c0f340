/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What the gate in the kernel is told of a lease, and what it tells of PASIDs: plain values. */

/* What holds a lease to the number of PASIDs that it has booked. */
typedef enum Enforcement {
        ENFORCEMENT_NONE,   /* nothing: it is booked and that is all */
        ENFORCEMENT_GROUP,  /* it cannot have any, by the form of the hand-over */
        ENFORCEMENT_KERNEL, /* the gate */
        _ENFORCEMENT_MAX,
} Enforcement;

/* The depth of a cgroup up to which PASIDs can be booked, the root included. */
#define PASID_LEVELS_MAX 32

/* The cgroup ids (inode numbers in cgroup v2) from the cgroup that is charged (first) to the root (last). Written down with the
 * lease, since a cgroup may be removed while what was charged to it goes on. */
typedef struct PasidChain {
        uint64_t levels[PASID_LEVELS_MAX];
        unsigned n_levels;
} PasidChain;

/* Of a lease, or of a cgroup with all below it. */
typedef struct PasidCounts {
        uint64_t in_use;  /* attached now */
        uint64_t peak;    /* the most at one time */
        uint64_t shared;  /* of a cgroup, among these: those of SVA, with what is just being taken */
        uint64_t refused; /* attempts at more than was booked */
        uint64_t killed;  /* processes that went around the gate */
} PasidCounts;

/* What the gate is told of a cgroup, for those that take PASIDs without a lease (SVA). */
typedef struct PasidLimit {
        uint64_t id;
        uint64_t limit;  /* for leases and SVA together; UINT64_MAX: none */
        uint64_t booked; /* by leases */
        bool closed;     /* whoever is in a cgroup right below that the gate was not told of gets none */
} PasidLimit;

#define GATE_DEVICES_MAX 256

typedef struct GateDevice {
        dev_t cdev; /* of its VFIO character device */
        int group;
} GateDevice;

typedef struct GateLease {
        char id[33];
        uint32_t limit; /* 0: no new PASID; what is attached stays */
        PasidChain chain;
        GateDevice devices[GATE_DEVICES_MAX];
        size_t n_devices;
} GateLease;

const char *enforcement_to_string(Enforcement e);
