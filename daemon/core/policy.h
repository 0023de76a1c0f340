/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "core/facts.h"
#include "core/lease.h"
#include "core/quota.h"

/* Who may have what: reservations, limits and the rules over them. Pure functions of configuration, caller and device. */

/* Who is to have something, as the kernel and the bus know it. */
typedef struct Caller {
        uid_t uid;
        const gid_t *gids; /* supplementary groups and the primary one */
        size_t n_gids;
        pid_t pid;
        const char *unit;    /* system unit, "" if none is known */
        const char *cgroup;  /* path in the unified hierarchy */
        const char *charged; /* that path, or its beginning up to where it is delegated; NULL: not known */
        /* How many PASIDs SVA has taken in each cgroup from the root to its own. */
        uint64_t shared[PASID_LEVELS_MAX];
        uint64_t memlock; /* its RLIMIT_MEMLOCK */
        /* Who asks in its name, NULL: itself. Its reservations count, and no other right of its own. */
        const struct Caller *asker;
} Caller;

/* What is done with who has a device still open at the deadline of a revocation. In the order of their force. */
typedef enum AtDeadline {
        AT_DEADLINE_UNSAID,
        AT_DEADLINE_REPORT,      /* nothing: the device is broken, and they are named */
        AT_DEADLINE_KILL,        /* who acquired, and those of his user in his cgroup */
        AT_DEADLINE_KILL_CGROUP, /* and then all of the cgroup; by a reservation only */
} AtDeadline;

/* A standing rule by an administrator. A pattern field is a list of words with shell wildcards; "" matches everything. */
typedef struct Reservation {
        char name[NAME_MAX_LEN];
        char *source; /* the file */
        /* which devices; at least one of these is set */
        char *match_address, *match_id, *match_subsystem, *match_class;
        /* who; at least one of these is set, all that are set must match */
        bool any_user;
        uid_t *uids;
        size_t n_uids;
        gid_t *gids;
        size_t n_gids;
        char *match_unit;
        /* what it grants beyond the device itself */
        unsigned hand_overs; /* bits of HandOver, 0 for all */
        char driver[NAME_MAX_LEN];
        uint64_t memlock; /* 0: leave the caller's limit alone */
        bool account_user;
        bool has_pasids; /* it says how many a lease may book: */
        uint32_t pasids;
        bool force_in_use;
        bool keep_driver; /* restore=false */
        bool unclean;     /* devices that could not be reset after another user */
        AtDeadline at_deadline;
} Reservation;

typedef struct Limits {
        uint32_t leases_per_user, devices_per_user, requests_per_user;
        uint32_t leases, workers;
        bool report_newcomers; /* what appears in a leased group is only reported, and not parked */
        bool refuse_ungated;   /* what can have PASIDs is not lent at all where the kernel does not limit them */
        AtDeadline at_deadline;
} Limits;

typedef struct Config {
        Limits limits;
        Reservation *reservations; /* in the order of their names: the first that matches counts */
        size_t n_reservations;
        QuotaRules quotas;
        uint64_t digest; /* of the files: two that differ have different ones */
} Config;

#define LIMITS_DEFAULT                                                                                                 \
        (Limits){                                                                                                      \
                .leases_per_user = 32, .devices_per_user = 128, .requests_per_user = 16, .leases = 1024, .workers = 64 \
        }

void config_clear(Config *c);
void reservation_clear(Reservation *r);
const Reservation *config_reservation(const Config *c, const char *name);

bool reservation_matches_device(const Reservation *r, const DeviceFacts *f);
bool reservation_matches_caller(const Reservation *r, const Caller *caller);

/* Does root ask? To be asked for is no right. */
bool policy_is_root(const Caller *caller);
/* May the caller have what is this user's? Whoever asks in its name gets the descriptors. */
bool policy_is_user(const Caller *caller, uid_t uid);

typedef enum Access {
        ACCESS_ALLOW,
        ACCESS_ASK,
        ACCESS_DENY,
} Access;

typedef struct Ruling {
        Access access;
        const char *action;             /* of polkit, with ACCESS_ASK */
        const Reservation *reservation; /* that matched, NULL if none did */
} Ruling;

#define ACTION_ACQUIRE_RESERVED         "org.iommud1.acquire-reserved"
#define ACTION_ACQUIRE                  "org.iommud1.acquire"
#define ACTION_ACQUIRE_IN_USE           "org.iommud1.acquire-in-use"
#define ACTION_ACQUIRE_KEEP_DRIVER      "org.iommud1.acquire-keep-driver"
#define ACTION_ACQUIRE_FOR_OTHERS       "org.iommud1.acquire-for-others"
#define ACTION_MANAGE_QUOTAS            "org.iommud1.manage-quotas"
#define ACTION_MANAGE_VIRTUAL_FUNCTIONS "org.iommud1.manage-virtual-functions"
#define ACTION_REVOKE                   "org.iommud1.revoke"
#define ACTION_REVOKE_OWN               "org.iommud1.revoke-own"

/* May the caller have this device in this form? named: use this reservation and no other; NULL for any. */
Ruling policy_device(const Config *c, const Caller *caller, const char *named, HandOver hand_over,
                     const DeviceFacts *f);

/* May the caller do what needs a right of its own? granted: what the device's reservation says. */
Ruling policy_right(const Caller *caller, bool granted, const char *action);
