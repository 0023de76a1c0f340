/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/examine.h"
#include "core/ledger.h"
#include "sim/simkernel.h"

/* The oracle: knows what every device was before anybody asked for it, and says what is wrong with the machine and the
 * ledger as they are now. */

typedef enum Flaw {
        FLAW_NONE,
        FLAW_LEDGER,         /* ledger_check() */
        FLAW_NOT_AS_BEFORE,  /* a device without a lease is not what it was before, and not broken either */
        FLAW_NO_REASON,      /* a broken device does not say why */
        FLAW_EXPOSED,        /* a host driver beside descriptors that were handed out */
        FLAW_STILL_OPEN,     /* a lease ended with an open descriptor of it */
        FLAW_OLD_DESCRIPTOR, /* a descriptor of one lease could bind a device of another */
        FLAW_UNDO,           /* a failed preparation left a device changed and did not say so */
        FLAW_CALLED_OPEN,    /* a failed preparation closed a descriptor and says it is open */
        FLAW_PREPARED,       /* a preparation succeeded and a device is not what was promised */
        FLAW_LEAK,           /* the daemon has descriptors of no lease */
        FLAW_QUOTA,          /* more PASIDs than a limit allows, or a count that is wrong */
        FLAW_REFUSED,        /* what examine() allowed the ledger refuses */
        FLAW_RESET_SET,      /* a lease with reset-set has less */
        FLAW_FUNCTIONS,      /* virtual functions are not as they were asked for, or one went that was somebody's */
        FLAW_KILLED,         /* somebody was killed who was to be spared, or spared who was to be killed */
        FLAW_UNSEEN,         /* a worker that looked did not see what is there */
        FLAW_RESET_ON_HOST,  /* and the other breaches that the simulator notices */
        FLAW_BREACH,
        _FLAW_MAX,
} Flaw;

typedef struct Home {
        char driver[NAME_MAX_LEN], override[NAME_MAX_LEN];
        bool foreign; /* somebody else has opened it: nobody's fault */
        bool swapped; /* pulled and put back under a lease: what it is at the end of that is right */
} Home;

typedef struct Model {
        Sim *sim;
        const Ledger *ledger;
        Home *homes;     /* in the order of the simulator's devices */
        bool *disturbed; /* groups that the host has meddled with while they were leased */
        unsigned n_breaches[_SIM_BREACH_MAX];
        Flaw flaw; /* the first that was found */
        char text[256];
} Model;

const char *model_flaw_to_string(Flaw f);

void model_init(Model *m, Sim *s, const Ledger *ledger);
void model_clear(Model *m);
Home *model_home(Model *m, const SimDevice *d);
/* The device is meant to be as it is now. */
void model_settle(Model *m, const SimDevice *d);
void model_found(Model *m, Flaw flaw, const SimDevice *d, const char *text);

/* All devices; the rest of what is wrong is told by whoever sees it happen. */
void model_check(Model *m);
/* After a JOB_PREPARE that has a result. */
void model_check_prepared(Model *m, const Job *job);
/* Before the ledger forgets a lease. */
void model_check_close(Model *m, const Lease *l);
