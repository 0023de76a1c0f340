/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "core/choose.h"
#include "core/handover.h"
#include "core/resetset.h"
#include "core/resources.h"
#include "core/viability.h"
#include "core/virtual.h"
#include "examine.h"
#include "util/text.h"

/* One judgement under way. */
typedef struct Examination {
        const World *world;
        const Caller *caller;
        const Usage *usage;
        const Request *request;
        Plan *plan;
        Findings *findings;
} Examination;

static bool same_group(const Device *d, const Group *g) {
        return d->facts.group >= 0 && d->facts.group == g->facts.id;
}

static bool in_scope(const Request *request, const Device *d, const Device *other) {
        return d == other || (d->facts.group >= 0 && d->facts.group == other->facts.group) ||
               (request->reset_set && resetset_has(d, other));
}

int examine_scope(const Inventory *inv, const Request *request, AddressList *ret) {
        const Device *other;

        *ret = (AddressList) {};
        for (size_t i = 0; i < request->devices.n; i++)
                if (inventory_device(inv, request->devices.items[i]))
                        (void) address_list_add(ret, request->devices.items[i]);
        /* The list grows while it is walked: a device of the reset set brings the members of its own group along. */
        for (size_t i = 0; i < ret->n; i++) {
                const Device *d = inventory_device(inv, ret->items[i]);

                INVENTORY_FOREACH_DEVICE (inv, other)
                        if (d && in_scope(request, d, other) && address_list_add(ret, other->facts.address) == -E2BIG)
                                return -E2BIG;
        }
        return 0;
}

/* Is somebody else at the group or the device? */
static void judge_availability(Examination *x, const Device *d, const Group *g) {
        AddressText at = address_text(d->facts.address);
        const char *address = at.text;
        const Lease *l = g && g->lease ? g->lease : d->lease, *joins = x->request->joins;
        const LeaseDevice *own = joins ? lease_device(joins, d->facts.address) : NULL;
        Finding *f;

        /* What the lease has parked or held it may hand out too: its own group is no obstacle. */
        if (joins && l == joins && d->state != DEVICE_BROKEN &&
            (!own || (own->role != ROLE_LEASED && !own->joining && !own->leaving)))
                return;
        if (d->state == DEVICE_BROKEN) {
                f = findings_add(x->findings, FINDING_BROKEN, SEVERITY_BLOCK, address, "%s is broken: %s", address,
                                 d->reason);
                finding_set_remedy(f,
                                   d->lease ? "end whoever has it open; then it is released"
                                            : "mend the cause; when a driver takes the device again it counts as free");
        } else if (l && l->state == LEASE_RELEASING) {
                f = findings_add(x->findings, FINDING_RELEASING, SEVERITY_BLOCK, address,
                                 "%s is still being released from lease %s of uid %u: %s", address, l->id, l->uid,
                                 isempty(d->reason) ? "its driver is being restored" : d->reason);
                finding_set_remedy(f, "try again, or ask with \"wait\"");
        } else if (l) {
                f = findings_add(x->findings, FINDING_LEASED, SEVERITY_BLOCK, address,
                                 "%s belongs to lease %s of uid %u (%s)", address, l->id, l->uid,
                                 isempty(l->unit) ? "no unit" : l->unit);
                if (g && !d->lease)
                        text_append(f->text, sizeof(f->text), ", which owns its whole group %d", g->facts.id);
                finding_set_remedy(f, "wait for its end, or revoke it: iommuctl revoke %.8s", l->id);
        } else if (d->state != DEVICE_FREE) {
                f = findings_add(x->findings, FINDING_BUSY, SEVERITY_BLOCK, address, "%s is busy: %s", address,
                                 isempty(d->reason) ? "a worker is still at work on it" : d->reason);
                finding_set_remedy(f, "try again, or ask with \"wait\"");
        }
}

/* --- rights --- */

static void add_ask(Examination *x, const Device *d, const Reservation *res, const char *action, const char *what) {
        Finding *f = findings_add(x->findings, FINDING_NOT_AUTHORIZED, SEVERITY_ASK, ADDRESS(d->facts.address),
                                  "%s %s needs the authorization %s", what, ADDRESS(d->facts.address), action);

        f->action = action;
        f->reservation = res ? res->name : NULL;
        if (streq(action, ACTION_ACQUIRE_RESERVED))
                finding_set_remedy(
                        f, "it is reserved for the caller, so polkit says yes unless the site has changed that");
        else
                finding_set_remedy(f,
                                   "a reservation for the caller grants it without asking, see iommud.reservation(5)");
}

/* Judges one touched device by the policy and by what the host does with it. Naming is not permission: members too. */
static const Reservation *judge_rights(Examination *x, const Device *d, bool detaches) {
        const char *named = isempty(x->request->reservation) ? NULL : x->request->reservation;
        Ruling ruling = policy_device(x->world->config, x->caller, named, x->request->hand_over, &d->facts), right;
        AddressText at = address_text(d->facts.address);
        const char *address = at.text;
        const Reservation *res = ruling.reservation;
        Finding *f;

        if (ruling.access == ACCESS_DENY) {
                f = findings_add(x->findings, FINDING_NOT_AUTHORIZED, SEVERITY_BLOCK, address,
                                 "the reservation \"%s\" does not grant %s to uid %u as %s", named, address,
                                 x->caller->uid, hand_over_to_string(x->request->hand_over));
                finding_set_remedy(f, "ask without \"reservation\", or have an administrator extend it");
                return NULL;
        }
        if (ruling.access == ACCESS_ASK)
                add_ask(x, d, res, ruling.action, "to use");
        for (size_t i = 0; detaches && i < d->uses.n; i++) {
                if (!x->request->force_in_use) {
                        f = findings_add(x->findings, FINDING_IN_USE, SEVERITY_BLOCK, address, "the host uses %s: %s",
                                         address, d->uses.uses[i].text);
                        finding_set_remedy(f, "end that use, or ask with \"force-in-use\" and the right to it");
                } else
                        (void) findings_add(x->findings, FINDING_IN_USE, SEVERITY_WARN, address,
                                            "the host will lose this: %s", d->uses.uses[i].text);
        }
        if (detaches && d->uses.n > 0 && x->request->force_in_use) {
                right = policy_right(x->caller, res && res->force_in_use, ACTION_ACQUIRE_IN_USE);
                if (right.access == ACCESS_ASK)
                        add_ask(x, d, res, right.action, "to take away the host's");
        }
        if (!x->request->restore) {
                right = policy_right(x->caller, res && res->keep_driver, ACTION_ACQUIRE_KEEP_DRIVER);
                if (right.access == ACCESS_ASK)
                        add_ask(x, d, res, right.action, "not to restore the driver of");
        }
        return res;
}

/* --- the plan --- */

static LeaseDevice *plan_add(Examination *x, const Device *d, Role role) {
        LeaseDevice *grown = reallocarray(x->plan->devices, x->plan->n_devices + 1, sizeof(*grown)), *ld;

        if (!grown)
                return NULL;
        x->plan->devices = grown;
        ld = &grown[x->plan->n_devices++];
        *ld = (LeaseDevice) {
                .address = d->facts.address,
                .role = role,
                .group = d->facts.group,
                .set = inventory_set_key(&d->facts),
                .watch = -1,
        };
        choose_original(d, ld, x->findings);
        return ld;
}

/* Whose traces does it carry? Its own user may have it again. */
static void judge_clean(Examination *x, const Device *d, const Reservation *res) {
        AddressText at = address_text(d->facts.address);
        const Lease *joins = x->request->joins;
        bool allowed = (joins ? joins->uid == d->unclean_of : policy_is_user(x->caller, d->unclean_of)) ||
                       (res && res->unclean);
        Finding *f;

        if (!d->unclean)
                return;
        f = findings_add(
                x->findings, FINDING_UNCLEAN, allowed ? SEVERITY_WARN : SEVERITY_BLOCK, at.text,
                "%s is as a lease of uid %u left it: it has no reset of its own, and its reset set was not idle "
                "at the end",
                at.text, d->unclean_of);
        if (!allowed)
                finding_set_remedy(f, "take its power and plug it in again, or grant it as it is by Unclean= in a "
                                      "reservation");
}

static void note_reset(Examination *x, const Device *d) {
        AddressText at = address_text(d->facts.address);
        const char *address = at.text;
        const Device *other;
        char hits[160] = "";
        Finding *f;

        if (isempty(d->facts.reset_methods)) {
                f = findings_add(x->findings, FINDING_NO_RESET, SEVERITY_WARN, address,
                                 "%s has no reset of its own: what a client leaves in it, the next one may find",
                                 address);
                finding_set_remedy(f, "lend it to one client only, or lend its whole reset set together");
        }
        INVENTORY_FOREACH_DEVICE (x->world->inventory, other)
                if (other != d && resetset_has(d, other))
                        text_append(hits, sizeof(hits), " %s", ADDRESS(other->facts.address));
        if (hits[0] == '\0' || x->request->reset_set)
                return;
        f = findings_add(x->findings, FINDING_SHARED_RESET, SEVERITY_INFO, address,
                         "a bus reset of %s hits%s too, so a client of %s alone may be refused one", address, hits,
                         address);
        finding_set_remedy(f, "ask with \"reset-set\" if hot reset has to work");
}

static int judge_requested(Examination *x, Address a) {
        Device *d = inventory_device(x->world->inventory, a);
        AddressText at = address_text(a);
        const char *address = at.text;
        const Reservation *res;
        LeaseDevice *ld;
        Finding *f;

        if (!d || d->gone) {
                f = findings_add(x->findings, FINDING_NO_SUCH_DEVICE, SEVERITY_BLOCK, address, "there is no device %s",
                                 address);
                finding_set_remedy(f, "iommuctl list shows all devices");
                return 0;
        }
        if (facts_is_bridge(&d->facts)) {
                f = findings_add(x->findings, FINDING_NOT_AN_ENDPOINT, SEVERITY_BLOCK, address,
                                 "%s is a bridge, and bridges cannot be lent", address);
                finding_set_remedy(f, "ask for the devices behind it");
                return 0;
        }
        if (!inventory_group_of(x->world->inventory, d)) {
                f = findings_add(x->findings, FINDING_NO_GROUP, SEVERITY_BLOCK, address,
                                 "%s is in no IOMMU group: nothing would keep its DMA from the host's memory", address);
                finding_set_remedy(f, "enable the IOMMU in the firmware and on the kernel command line");
                return 0;
        }
        res = judge_rights(x, d, d->facts.driver_kind == DRIVER_HOST);
        if (x->plan->n_devices == 0)
                x->plan->reservation = res;
        judge_availability(x, d, inventory_group_of(x->world->inventory, d));
        virtual_judge_lending(x->world->inventory, d, x->caller, x->request->hand_over, res, x->findings);
        judge_clean(x, d, res);
        ld = plan_add(x, d, ROLE_LEASED);
        if (!ld)
                return -ENOMEM;
        choose_driver(x->world->variants, x->request, d, res, ld, x->findings);
        if (d->facts.driver_kind == DRIVER_HOST)
                (void) findings_add(x->findings, FINDING_WILL_DETACH, SEVERITY_INFO, address,
                                    "%s will be taken from the host driver %s", address, d->facts.driver);
        note_reset(x, d);
        return 0;
}

static bool planned(const Plan *p, Address a) {
        for (size_t i = 0; i < p->n_devices; i++)
                if (address_equal(p->devices[i].address, a))
                        return true;
        return false;
}

/* A device that is taken along and handed to nobody. */
static int judge_parked(Examination *x, const Device *d) {
        const Reservation *res = judge_rights(x, d, d->facts.driver_kind == DRIVER_HOST);
        LeaseDevice *ld = plan_add(x, d, ROLE_PARKED);

        if (!ld)
                return -ENOMEM;
        virtual_judge_lending(x->world->inventory, d, x->caller, x->request->hand_over, res, x->findings);
        choose_driver(x->world->variants, x->request, d, res, ld, x->findings);
        (void) findings_add(x->findings, FINDING_WILL_PARK, SEVERITY_INFO, ADDRESS(d->facts.address),
                            "%s will be parked%s%s for the life of the lease", ADDRESS(d->facts.address),
                            isempty(d->facts.driver) ? "" : " instead of being driven by ", d->facts.driver);
        return 0;
}

/* With "reset-set": everything that a reset of the device hits is taken, whatever group it is in. */
static int judge_reset_set(Examination *x, Address a) {
        const Inventory *inv = x->world->inventory;
        const Device *d = inventory_device(inv, a), *other;
        AddressText at = address_text(a);
        char why[160];
        Finding *f;
        int r;

        if (!d)
                return 0;
        if (resetset_obstacle(inv, d, why, sizeof(why))) {
                f = findings_add(x->findings, FINDING_NO_HOT_RESET, SEVERITY_BLOCK, at.text,
                                 "a hot reset of %s is impossible: %s", at.text, why);
                finding_set_remedy(f, "ask without \"reset-set\"%s",
                                   isempty(d->facts.reset_methods) ? "" : "; the device can be reset by itself");
                return 0;
        }
        INVENTORY_FOREACH_DEVICE (inv, other) {
                if (!resetset_has(d, other) || planned(x->plan, other->facts.address))
                        continue;
                if (other->lease && other->lease == x->request->joins)
                        continue; /* it is where it has to be */
                if (hand_over_is_legacy(x->request->hand_over)) {
                        handover_reset_impossible(x->request, a, other, x->findings);
                        continue;
                }
                judge_availability(x, other, inventory_group_of(inv, other));
                r = judge_parked(x, other);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A member of a group of the request that was not asked for itself. */
static int judge_member(Examination *x, const Device *m) {
        bool named = address_list_has(&x->request->members, m->facts.address);
        LeaseDevice *ld;

        if (facts_is_bridge(&m->facts) || m->facts.driver_kind == DRIVER_NEIGHBOUR)
                return 0;
        if (m->lease && m->lease == x->request->joins)
                return 0; /* it is where it has to be */
        /* Its release was never proven: who had it before may still reach it, and the group through it. */
        if (m->state == DEVICE_BROKEN)
                judge_availability(x, m, NULL);
        if (m->facts.driver_kind == DRIVER_NONE && !named) {
                ld = plan_add(x, m, ROLE_HELD);
                return ld ? 0 : -ENOMEM;
        }
        if (named)
                return judge_parked(x, m);
        if (m->facts.driver_kind == DRIVER_VFIO && hand_over_is_legacy(x->request->hand_over))
                handover_member_reachable(x->request, m, x->findings);
        return 0; /* on a host driver: viability_judge() refuses; on VFIO: it may stay where it is */
}

static void too_many(Examination *x) {
        Finding *f =
                findings_add(x->findings, FINDING_INVALID, SEVERITY_BLOCK, "",
                             "the request touches more than %u devices, and no lease has more", REQUEST_DEVICES_MAX);

        finding_set_remedy(f, "ask for fewer devices at once, in several leases");
}

static int judge_groups(Examination *x) {
        const Inventory *inv = x->world->inventory;
        AddressList spared = x->request->members;
        Group *g;
        int r;

        for (size_t i = 0; i < x->request->devices.n; i++)
                if (address_list_add(&spared, x->request->devices.items[i]) == -E2BIG) {
                        too_many(x);
                        return 0;
                }
        INVENTORY_FOREACH_GROUP (inv, g) {
                size_t n = x->plan->n_devices;
                bool touched = false;
                const Device *m;

                for (size_t i = 0; i < n && !touched; i++)
                        touched = x->plan->devices[i].group == g->facts.id;
                if (!touched)
                        continue;
                /* What is taken for the reset set is as good as named. */
                for (size_t i = 0; i < n && x->request->reset_set; i++)
                        (void) address_list_add(&spared, x->plan->devices[i].address);
                viability_judge(inv, g, &spared, x->findings);
                INVENTORY_FOREACH_DEVICE (inv, m) {
                        if (!same_group(m, g) || planned(x->plan, m->facts.address))
                                continue;
                        r = judge_member(x, m);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static void judge_member_names(Examination *x) {
        for (size_t i = 0; i < x->request->members.n; i++) {
                AddressText at = address_text(x->request->members.items[i]);
                const char *address = at.text;
                const Device *d = inventory_device(x->world->inventory, x->request->members.items[i]);
                Finding *f;

                if (!d || d->gone) {
                        f = findings_add(x->findings, FINDING_NO_SUCH_DEVICE, SEVERITY_BLOCK, address,
                                         "there is no device %s, which \"members\" names", address);
                        finding_set_remedy(f, "iommuctl list shows all devices");
                } else if (address_list_has(&x->request->devices, d->facts.address) ||
                           !planned(x->plan, d->facts.address)) {
                        f = findings_add(x->findings, FINDING_NOT_A_MEMBER, SEVERITY_BLOCK, address,
                                         "%s is no further member of a group of the requested devices", address);
                        finding_set_remedy(f, "\"members\" is for devices that share a group with a requested one");
                }
        }
}

int examine(const World *w, const Caller *caller, const Usage *usage, const Request *request, Plan *ret_plan,
            Findings *ret_findings) {
        Examination x = {
                .world = w,
                .caller = caller,
                .usage = usage,
                .request = request,
                .plan = ret_plan,
                .findings = ret_findings,
        };
        int r;

        ret_plan->force_in_use = request->force_in_use;
        for (size_t i = 0; i < request->devices.n; i++) {
                r = judge_requested(&x, request->devices.items[i]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < request->devices.n && request->reset_set; i++) {
                r = judge_reset_set(&x, request->devices.items[i]);
                if (r < 0)
                        return r;
        }
        r = judge_groups(&x);
        if (r < 0)
                return r;
        judge_member_names(&x);
        virtual_judge_together(w->inventory, ret_plan, ret_findings);
        if (ret_plan->n_devices + (request->joins ? request->joins->n_devices : 0) > REQUEST_DEVICES_MAX)
                too_many(&x);
        handover_judge(w, request, ret_findings);
        resources_judge(w, caller, usage, request, ret_plan, ret_findings);
        return ret_findings->out_of_memory ? -ENOMEM : 0;
}
