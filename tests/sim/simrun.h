/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "sim/simdaemon.h"

/* Random sequences of everything that can happen to a machine with leases, each step judged by the oracle. An episode is one machine from
 * its beginning to its end. Each of its steps draws from a seed of its own, so it does much the same when others are left out. */

#define EPISODE_STEPS 4000

typedef struct Episode {
        uint64_t seed;
        SimTopology topology;
        unsigned rate; /* of faults: one in so many operations, 0 for none */
        unsigned n_steps;
} Episode;

/* Some of the steps, in their order. */
typedef struct StepList {
        unsigned items[EPISODE_STEPS];
        size_t n;
} StepList;

typedef struct Failure {
        Flaw flaw;
        char text[256];
        unsigned step; /* EPISODE_STEPS: at the end, when all is calmed down */
} Failure;

/* What happened, of all episodes together. */
typedef struct Tally {
        unsigned long steps, episodes, devices_max, kernel_ops, jobs, leases, refused, failed, hung, died, restarts,
                broken, busy, nested, joined, left, resets, hot_resets, changes, pasids_refused, killed, given_up;
        unsigned long faults[_SIM_FAULT_MAX], over_quota;
} Tally;

/* The n-th episode of a run. devices: how many at least, 0 for any number. */
void episode_make(Episode *e, uint64_t seed, unsigned long n, unsigned devices);
void episode_all_steps(const Episode *e, StepList *ret);
/* Returns false if something is wrong; what it is, is in ret. tell: prints each step and its operations on the kernel. */
bool episode_run(const Episode *e, const StepList *steps, bool tell, Tally *tally, Failure *ret);

/* Leaves out what the failure happens without; the steps are those of the episode up to the failure. Returns how many runs that took. */
unsigned simshrink_steps(const Episode *e, const Failure *failure, StepList *steps);
