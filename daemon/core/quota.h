/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/finding.h"
#include "core/lease.h"

/* How many PASIDs a cgroup and all below it may have booked at once. A lease books its number in the cgroup that it is charged to
 * and in every one above, up to the root. Cgroups go by their paths, as in /proc/PID/cgroup: a unit that is started anew has a new
 * cgroup of the same path, and what its old one has not given back yet counts against its limit. */

#define QUOTA_UNLIMITED UINT64_MAX
#define QUOTA_LIMIT_MAX UINT32_MAX
#define QUOTA_PATH_MAX  4096 /* with the NUL */

/* A rule of quota.d: the limit of each cgroup that matches. One of the patterns is set. */
typedef struct QuotaRule {
        char name[NAME_MAX_LEN];
        char *source; /* the file */
        char *match_cgroup, *match_unit, *match_slice;
        uint64_t limit;
} QuotaRule;

typedef struct QuotaRules {
        QuotaRule *items; /* in the order of their names: the first that matches counts */
        size_t n;
} QuotaRules;

/* What was set on the bus. */
typedef struct QuotaSetting {
        char *path;
        uint64_t limit;
} QuotaSetting;

typedef struct QuotaSettings {
        QuotaSetting *items;
        size_t n;
} QuotaSettings;

/* A cgroup in which something is booked, or that has a limit of its own. */
typedef struct QuotaLevel {
        char *path;
        uint64_t id; /* of the cgroup that was charged last, 0 for none */
        uint64_t booked;
        bool told, changed; /* for whoever tells of levels: is this one known, and is what is known of it still so? */
} QuotaLevel;

typedef struct Quota {
        QuotaSettings runtime, persistent; /* until reboot, and for good */
        QuotaLevel **levels;               /* in the order of their paths: what is above comes first */
        size_t n_levels;
} Quota;

void quota_clear(Quota *q);
void quota_rule_clear(QuotaRule *r);
void quota_rules_clear(QuotaRules *rules);
void quota_settings_clear(QuotaSettings *s);

/* Is it written as the kernel writes paths of cgroups: "/" or "/a/b", printable? */
bool quota_path_is_valid(const char *path);
/* Cuts the last name off: "/a/b" becomes "/a", and that "/". Returns false for the root. */
bool quota_ascend(char *path);
/* How many names there are: 0 for the root. */
unsigned quota_path_depth(const char *path);
/* Is it that cgroup or one below? All are below the root. */
bool quota_path_is_within(const char *path, const char *above);

/* QUOTA_UNLIMITED takes a setting back. */
int quota_settings_put(QuotaSettings *s, const char *path, uint64_t limit);

typedef struct QuotaLimit {
        uint64_t limit;     /* QUOTA_UNLIMITED: none */
        const char *source; /* the rule's file, "persistent", "runtime", or "" */
} QuotaLimit;

/* What was set until reboot counts before what was set for good, and that before the rules. */
QuotaLimit quota_limit(const Quota *q, const QuotaRules *rules, const char *path);

QuotaLevel *quota_level(const Quota *q, const char *path);
int quota_add_level(Quota *q, const char *path, QuotaLevel **ret);
void quota_remove_level(Quota *q, const QuotaLevel *level);
/* Is the cgroup one that has a level although nothing is booked: the root, or set on the bus, or named in full by a rule? */
bool quota_is_named(const Quota *q, const QuotaRules *rules, const char *path);
/* Is there any limit at all? */
bool quota_has_limits(const Quota *q, const QuotaRules *rules);

/* Books what a lease has in all levels or, with -ENOMEM, in none. Whether there is room is for quota_judge() to say: what an earlier
 * daemon has lent is booked in any case. */
int quota_book(Quota *q, const Lease *l);
void quota_unbook(Quota *q, const Lease *l);

/* Finds each level that has not got so many left. shared: how many SVA has taken in each level, from the root down. Returns true if any
 * level has a limit at all. */
bool quota_judge(const Quota *q, const QuotaRules *rules, const char *charged,
                 const uint64_t shared[static PASID_LEVELS_MAX], uint32_t wanted, Findings *findings);

/* Why the levels contradict the leases, or NULL. */
const char *quota_check(const Quota *q, Lease *const *leases, size_t n);
