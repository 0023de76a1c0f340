/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "sim/simkernel.h"

/* The real kernel and the simulated one, which was told what the real one's machine is like: whatever is done is done to both. */

#define TWIN_DEVICES_MAX   32
#define TWIN_NEIGHBOURS    3 /* that a sequence is mostly about */
#define TWIN_FUNCTIONS_MAX 8
#define TWIN_PAIRS_MAX     24
#define TWIN_PAIRS_NEW     2 /* that one action opens */
#define TWIN_TEXT_MAX      (1 << 16)

#define SIM_OPS(t) ((t)->sim->kernel.ops)
#define SIM_K(t)   (&(t)->sim->kernel)

typedef enum PairKind {
        PAIR_IOMMUFD,
        PAIR_DEVICE,
        PAIR_CONTAINER,
        PAIR_GROUP,
} PairKind;

/* The same object of an iommufd in both; 0: none. */
typedef struct Ids {
        uint32_t real, sim;
} Ids;

#define TWIN_NO_IDS                                                                                                    \
        (Ids) {                                                                                                        \
                UINT32_MAX, UINT32_MAX                                                                                 \
        }

/* The same group in both, -1: none. Its number is the kernel's own affair. */
typedef struct Numbers {
        int real, sim;
} Numbers;

/* The same descriptor in both. */
typedef struct Pair {
        PairKind kind;
        int real, sim;
        Address address; /* of a device */
        int group;       /* its index in the simulator */
        Ids devid;       /* of a device that is bound */
        Ids ioas, table; /* of an iommufd: the last of each */
} Pair;

/* How often an operation had a result. */
typedef struct Outcome {
        const char *what;
        long result;
        unsigned long n;
} Outcome;

#define OUTCOMES_MAX 256

typedef struct Twin {
        Kernel *real;
        Sim *sim;
        uint64_t random;
        Address devices[TWIN_DEVICES_MAX]; /* that may be used */
        char hosts[TWIN_DEVICES_MAX][NAME_MAX_LEN];
        size_t n_devices, favourite;
        DeviceFacts functions[TWIN_FUNCTIONS_MAX]; /* virtual ones that can be there */
        size_t n_functions;
        char removers[TWIN_FUNCTIONS_MAX][NAME_MAX_LEN]; /* drivers that take them with them */
        size_t n_removers;
        Pair pairs[TWIN_PAIRS_MAX];
        size_t n_pairs;
        unsigned long n_operations, n_compared;
        Outcome outcomes[OUTCOMES_MAX];
        size_t n_outcomes;
        bool differs;
        char history[TWIN_TEXT_MAX]; /* of the sequence */
} Twin;

unsigned twin_below(Twin *t, unsigned n);
/* Notes what is about to be done. */
void twin_note(Twin *t, const char *format, ...) __attribute__((__format__(__printf__, 2, 3)));
/* What both said. The one is for operations, and counts. */
void twin_result(Twin *t, const char *what, long real, long sim);
void twin_same(Twin *t, const char *what, long real, long sim);
void twin_same_text(Twin *t, const char *what, const char *real, const char *sim);

/* describe.c: a simulated machine that is as the real one is now; wrong: without VFIO drivers */
Sim *describe_machine(const Twin *t, bool wrong);

/* compare.c: what is to be seen of all devices, their groups and nodes */
void compare_all(Twin *t);

/* act.c */
void act_randomly(Twin *t);
/* Closes all and gives the devices back to their drivers. */
void act_clean_up(Twin *t);
