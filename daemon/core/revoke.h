/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/policy.h"

/* How a lease is taken back from a client that does not let go, and who may be killed for it. A descriptor can be planted in anybody's
 * process, so that to have one is never reason enough. */

typedef enum RevokeRung {
        REVOKE_RUNG_ASK,         /* by signal and by VFIO's device request */
        REVOKE_RUNG_KILL,        /* the process that acquired, and holders of its user in its cgroup */
        REVOKE_RUNG_KILL_CGROUP, /* all of that cgroup */
        REVOKE_RUNG_GIVE_UP,     /* the devices are broken, until whoever holds them lets go */
} RevokeRung;

/* What is done at the deadline: what the lease's reservation says, else what is said for all. */
AtDeadline revoke_policy(const Config *c, const Lease *l);
/* What comes when a rung did not help. */
RevokeRung revoke_next(RevokeRung rung, AtDeadline policy);

/* Which processes are meant, as a plain value for the worker that kills. */
typedef struct RevokeRule {
        uid_t uid;
        int pid;            /* of the process that acquired, as it was... */
        uint64_t process;   /* ... and what tells it from a later one; 0: not known */
        uint64_t cgroup_id; /* of its cgroup at that time; 0: not known */
        char cgroup[CGROUP_PATH_MAX];
        char own_cgroup[CGROUP_PATH_MAX]; /* the daemon's */
        int spared[2];                    /* the daemon and the bus */
} RevokeRule;

bool revoke_may_kill(const RevokeRule *rule, const ProcessFacts *p);

typedef enum RevokeCgroup {
        REVOKE_CGROUP_MAY,
        REVOKE_CGROUP_UNKNOWN,  /* there was none, or nothing tells it from a later one of its name */
        REVOKE_CGROUP_SESSION,  /* a login, with all that its user does */
        REVOKE_CGROUP_MANAGER,  /* the user's service manager */
        REVOKE_CGROUP_SLICE,    /* no service's own: others are below it */
        REVOKE_CGROUP_ANCESTOR, /* the daemon is in it */
        REVOKE_CGROUP_OTHERS,   /* it has init, the bus, or a holder of another user */
        _REVOKE_CGROUP_MAX,
} RevokeCgroup;

/* holders: who has the devices open. */
RevokeCgroup revoke_may_kill_cgroup(const RevokeRule *rule, const ProcessFacts *holders, size_t n);
/* What goes on from "the cgroup is not killed: ". */
const char *revoke_cgroup_to_string(RevokeCgroup c);
