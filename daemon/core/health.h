/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/finding.h"
#include "core/ledger.h"

/* Do the kernel, the configuration, what is kept in /run/iommud and the leases agree? What is off is told as findings: with "block"
 * nothing can be lent, with "warn" something is not as it should be, and "info" is well but worth knowing. */

typedef enum StatePlace {
        STATE_ROOT, /* /run/iommud itself */
        STATE_LEASES,
        STATE_LIFELINES,
        STATE_LOCKS,
        STATE_DEVICES,
        _STATE_PLACE_MAX,
} StatePlace;

/* A file, or with an empty name the directory itself. */
typedef struct StateEntry {
        StatePlace place;
        char name[256];
        uid_t uid;
        mode_t mode;
        bool locked; /* by a worker that is not this daemon's */
} StateEntry;

typedef struct HealthFacts {
        const Ledger *ledger;
        const Config *config;      /* NULL: none could be read */
        const char *complaint;     /* why the configuration cannot be used as it is now; NULL: it can */
        bool reloaded;             /* the daemon has it as it is now */
        const char *gate_why;      /* why nothing holds leases to their PASIDs; NULL: the gate does */
        const StateEntry *entries; /* what there is in /run/iommud, in any order */
        size_t n_entries;
        uid_t owner;         /* whose they have to be */
        bool polkit_actions; /* polkit knows ours, or is not there to */
} HealthFacts;

/* Kernel, configuration and polkit. */
void health_judge_machine(const HealthFacts *facts, Findings *findings);
/* Leases, their devices, and the files. */
void health_judge_state(const HealthFacts *facts, Findings *findings);

/* Is something off? */
bool health_is_off(const Finding *f);

/* "leases", and "" for the root. */
const char *state_place_to_string(StatePlace place);
