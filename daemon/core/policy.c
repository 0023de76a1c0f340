/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "core/pattern.h"
#include "policy.h"
#include "util/text.h"

void reservation_clear(Reservation *r) {
        free(r->source);
        free(r->match_address);
        free(r->match_id);
        free(r->match_subsystem);
        free(r->match_class);
        free(r->uids);
        free(r->gids);
        free(r->match_unit);
        *r = (Reservation) {};
}

void config_clear(Config *c) {
        for (size_t i = 0; i < c->n_reservations; i++)
                reservation_clear(&c->reservations[i]);
        free(c->reservations);
        quota_rules_clear(&c->quotas);
        *c = (Config) { .limits = LIMITS_DEFAULT };
}

const Reservation *config_reservation(const Config *c, const char *name) {
        for (size_t i = 0; i < c->n_reservations; i++)
                if (streq(c->reservations[i].name, name))
                        return &c->reservations[i];
        return NULL;
}

bool reservation_matches_device(const Reservation *r, const DeviceFacts *f) {
        char id[10], subsystem[10], class[7];

        (void) snprintf(id, sizeof(id), "%04x:%04x", f->vendor, f->device);
        (void) snprintf(subsystem, sizeof(subsystem), "%04x:%04x", f->subsystem_vendor, f->subsystem_device);
        (void) snprintf(class, sizeof(class), "%06x", f->class & 0xffffff);
        return pattern_match(r->match_address, ADDRESS(f->address), 0) && pattern_match(r->match_id, id, 0) &&
               pattern_match(r->match_subsystem, subsystem, 0) && pattern_match(r->match_class, class, 0);
}

static bool has_user(const Reservation *r, uid_t uid) {
        for (size_t i = 0; i < r->n_uids; i++)
                if (r->uids[i] == uid)
                        return true;
        return false;
}

static bool has_group(const Reservation *r, const Caller *caller) {
        for (size_t i = 0; i < r->n_gids; i++)
                for (size_t j = 0; j < caller->n_gids; j++)
                        if (r->gids[i] == caller->gids[j])
                                return true;
        return false;
}

bool reservation_matches_caller(const Reservation *r, const Caller *caller) {
        if (!r->any_user && r->n_uids > 0 && !has_user(r, caller->uid))
                return false;
        if (r->n_gids > 0 && !has_group(r, caller))
                return false;
        /* A caller outside all units matches no unit pattern, not even "*". */
        if (!isempty(r->match_unit) && (isempty(caller->unit) || !pattern_match(r->match_unit, caller->unit, 0)))
                return false;
        /* A rule that names nobody is for nobody: the reader refuses such a file, and this is the second lock. */
        return r->any_user || r->n_uids > 0 || r->n_gids > 0 || !isempty(r->match_unit);
}

static bool grants_hand_over(const Reservation *r, HandOver h) {
        return r->hand_overs == 0 || (r->hand_overs & (1u << h)) != 0;
}

bool policy_is_root(const Caller *caller) {
        return (caller->asker ? caller->asker->uid : caller->uid) == 0;
}

bool policy_is_user(const Caller *caller, uid_t uid) {
        return caller->uid == uid && (!caller->asker || caller->asker->uid == uid || policy_is_root(caller));
}

Ruling policy_device(const Config *c, const Caller *caller, const char *named, HandOver hand_over,
                     const DeviceFacts *f) {
        Ruling ruling = { .access = ACCESS_ASK, .action = ACTION_ACQUIRE };

        for (size_t i = 0; i < c->n_reservations && !ruling.reservation; i++) {
                const Reservation *r = &c->reservations[i];

                if ((!named || streq(r->name, named)) && reservation_matches_device(r, f) &&
                    reservation_matches_caller(r, caller) && grants_hand_over(r, hand_over))
                        ruling.reservation = r;
        }
        if (named && !ruling.reservation)
                ruling.access = ACCESS_DENY;
        else if (policy_is_root(caller))
                ruling.access = ACCESS_ALLOW;
        else if (ruling.reservation)
                ruling.action = ACTION_ACQUIRE_RESERVED;
        return ruling;
}

Ruling policy_right(const Caller *caller, bool granted, const char *action) {
        if (policy_is_root(caller) || granted)
                return (Ruling) { .access = ACCESS_ALLOW };
        return (Ruling) { .access = ACCESS_ASK, .action = action };
}
