/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "revoke.h"
#include "core/quota.h"
#include "util/text.h"

AtDeadline revoke_policy(const Config *c, const Lease *l) {
        const Reservation *r = isempty(l->reservation) ? NULL : config_reservation(c, l->reservation);

        if (r && r->at_deadline != AT_DEADLINE_UNSAID)
                return r->at_deadline;
        return c->limits.at_deadline == AT_DEADLINE_UNSAID ? AT_DEADLINE_REPORT : c->limits.at_deadline;
}

RevokeRung revoke_next(RevokeRung rung, AtDeadline policy) {
        if (rung == REVOKE_RUNG_ASK && policy >= AT_DEADLINE_KILL)
                return REVOKE_RUNG_KILL;
        if (rung == REVOKE_RUNG_KILL && policy == AT_DEADLINE_KILL_CGROUP)
                return REVOKE_RUNG_KILL_CGROUP;
        return REVOKE_RUNG_GIVE_UP;
}

static bool is_root(const char *cgroup) {
        return isempty(cgroup) || streq(cgroup, "/");
}

/* Is it that cgroup or one below? The root is no cgroup of anybody's. */
static bool is_inside(const char *cgroup, const char *of) {
        return !is_root(of) && quota_path_is_within(cgroup, of);
}

static bool is_ours(const RevokeRule *rule, const ProcessFacts *p) {
        if (p->pid == 1)
                return true;
        for (size_t i = 0; i < ARRAY_SIZE(rule->spared); i++)
                if (p->pid == rule->spared[i])
                        return true;
        /* Workers. */
        return is_inside(p->cgroup, rule->own_cgroup);
}

bool revoke_may_kill(const RevokeRule *rule, const ProcessFacts *p) {
        if (is_ours(rule, p) || p->uid != rule->uid)
                return false;
        if (rule->process != 0 && p->id == rule->process)
                return true;
        return is_inside(p->cgroup, rule->cgroup);
}

static const char *last_component(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* "user@1000.service", and "init.scope" in it, in which the manager itself is. */
static bool is_manager(const char *cgroup) {
        const char *name = last_component(cgroup), *parent = name;

        if (streq(name, "init.scope") && name - cgroup > 1)
                for (parent = name - 1; parent > cgroup && parent[-1] != '/'; parent--)
                        ;
        return strncmp(parent, "user@", strlen("user@")) == 0 &&
               (parent == name ? text_has_suffix(name, ".service") : text_has_suffix(cgroup, ".service/init.scope"));
}

RevokeCgroup revoke_may_kill_cgroup(const RevokeRule *rule, const ProcessFacts *holders, size_t n) {
        const char *name = last_component(rule->cgroup);

        if (is_root(rule->cgroup) || rule->cgroup_id == 0)
                return REVOKE_CGROUP_UNKNOWN;
        if (strncmp(name, "session-", strlen("session-")) == 0 && text_has_suffix(name, ".scope"))
                return REVOKE_CGROUP_SESSION;
        if (is_manager(rule->cgroup))
                return REVOKE_CGROUP_MANAGER;
        if (text_has_suffix(name, ".slice"))
                return REVOKE_CGROUP_SLICE;
        if (is_inside(rule->own_cgroup, rule->cgroup))
                return REVOKE_CGROUP_ANCESTOR;
        for (size_t i = 0; i < n; i++)
                if (is_inside(holders[i].cgroup, rule->cgroup) &&
                    (is_ours(rule, &holders[i]) || holders[i].uid != rule->uid))
                        return REVOKE_CGROUP_OTHERS;
        return REVOKE_CGROUP_MAY;
}

const char *revoke_cgroup_to_string(RevokeCgroup c) {
        static const char *const texts[_REVOKE_CGROUP_MAX] = {
                [REVOKE_CGROUP_MAY] = "it is",
                [REVOKE_CGROUP_UNKNOWN] = "it is not known, or is the root of all",
                [REVOKE_CGROUP_SESSION] = "it is a login session",
                [REVOKE_CGROUP_MANAGER] = "it is a user's service manager",
                [REVOKE_CGROUP_SLICE] = "it is a slice, which is no service's own",
                [REVOKE_CGROUP_ANCESTOR] = "iommud is in it",
                [REVOKE_CGROUP_OTHERS] = "init, the bus or a process of another user is in it",
        };

        return c < _REVOKE_CGROUP_MAX ? texts[c] : "invalid";
}
