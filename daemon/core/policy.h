/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "core/facts.h"
#include "core/lease.h"

/* Who may have what: reservations, limits and the rules over them. Pure functions of configuration, caller and device. */

/* Who asks, as the kernel and the bus know it. */
typedef struct Caller {
        uid_t uid;
        const gid_t *gids; /* supplementary groups and the primary one */
        size_t n_gids;
        pid_t pid;
        const char *unit;   /* system unit, "" if none is known */
        const char *cgroup; /* path in the unified hierarchy */
        uint64_t memlock;   /* its RLIMIT_MEMLOCK */
} Caller;

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
        uint32_t pasids;
        bool force_in_use;
        bool keep_driver; /* restore=false */
} Reservation;

typedef struct Limits {
        uint32_t leases_per_user, devices_per_user, requests_per_user;
        uint32_t leases, workers;
        bool report_newcomers; /* what appears in a leased group is only reported, and not parked */
} Limits;

typedef struct Config {
        Limits limits;
        Reservation *reservations; /* in the order of their names: the first that matches counts */
        size_t n_reservations;
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

#define ACTION_ACQUIRE_RESERVED    "org.iommud1.acquire-reserved"
#define ACTION_ACQUIRE             "org.iommud1.acquire"
#define ACTION_ACQUIRE_IN_USE      "org.iommud1.acquire-in-use"
#define ACTION_ACQUIRE_KEEP_DRIVER "org.iommud1.acquire-keep-driver"
#define ACTION_ACQUIRE_FOR_OTHERS  "org.iommud1.acquire-for-others"
#define ACTION_REVOKE              "org.iommud1.revoke"
#define ACTION_REVOKE_OWN          "org.iommud1.revoke-own"

/* May the caller have this device in this form? named: use this reservation and no other; NULL for any. */
Ruling policy_device(const Config *c, const Caller *caller, const char *named, HandOver hand_over,
                     const DeviceFacts *f);

/* May the caller do what needs a right of its own? granted: what the device's reservation says. */
Ruling policy_right(const Caller *caller, bool granted, const char *action);
