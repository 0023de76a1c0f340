/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <syslog.h>

#include "broker/acquire.h"
#include "broker/newcomer.h"
#include "broker/reread.h"
#include "system/journal.h"
#include "util/text.h"

static void tell(Broker *b, Group *g, const Device *d, const char *what) {
        journal_log(LOG_WARNING, "Lease %s: group %d is disturbed: %s %s", g->lease->id, g->facts.id,
                    ADDRESS(d->facts.address), what);
        if (b->listener)
                b->listener->group_disturbed(g, d->facts.address, what, b->listener_userdata);
}

void newcomer_look_again(Broker *b, const Lease *l) {
        _cleanup_free_ AddressList *waiting = calloc(1, sizeof(*waiting));
        const Device *d;

        if (!waiting)
                return;
        INVENTORY_FOREACH_DEVICE (&b->ledger.inventory, d) {
                const Group *g = inventory_group_of(&b->ledger.inventory, d);

                if (!d->lease && g && g->lease == l && !facts_is_bridge(&d->facts))
                        (void) address_list_add(waiting, d->facts.address);
        }
        for (size_t i = 0; i < waiting->n; i++)
                reread_device(b, waiting->items[i]);
}

static void on_parked(_unused_ Lease *l, const AddressList *added, _unused_ const char *error_name, const char *text,
                      _unused_ void *userdata) {
        if (!added)
                journal_log(LOG_WARNING, "A newcomer could not be parked: %s", text);
}

/* As examine() chooses for members. */
static void choose_driver(const Broker *b, const Lease *l, const Device *d, LeaseDevice *ret) {
        const VariantAlias *a = variant_candidate(&b->variants, d->facts.modalias, VARIANT_PLAIN_DRIVER);
        bool stub = hand_over_is_legacy(l->hand_over);

        (void) text_copy(ret->driver, sizeof(ret->driver), stub ? STUB_DRIVER : a ? a->driver : VARIANT_PLAIN_DRIVER);
        (void) text_copy(ret->module, sizeof(ret->module), stub ? STUB_MODULE : a ? a->module : VARIANT_PLAIN_MODULE);
}

/* The newcomer becomes the lease's, handed to nobody. */
static void park(Broker *b, Lease *l, Device *d) {
        _cleanup_free_ LeaseDevice *ld = calloc(1, sizeof(*ld));
        Plan plan = { .devices = ld, .n_devices = 1 };
        int r = -ENOMEM;

        if (ld) {
                *ld = (LeaseDevice) {
                        .address = d->facts.address,
                        .role = d->facts.driver_kind == DRIVER_NONE ? ROLE_HELD : ROLE_PARKED,
                        .group = d->facts.group,
                        .set = inventory_set_key(&d->facts),
                        .watch = -1,
                        .newcomer = d->newcomer,
                };
                (void) text_copy(ld->original_driver, sizeof(ld->original_driver), d->facts.driver);
                (void) text_copy(ld->original_override, sizeof(ld->original_override), d->facts.driver_override);
                choose_driver(b, l, d, ld);
                r = acquire_join(b, l, &plan, on_parked, NULL);
        }
        /* Somebody else is being parked: to wait for that is no attempt. */
        if (r == -EBUSY && d->disturbs > 1)
                d->disturbs--;
        else if (r < 0 && r != -EBUSY)
                journal_log(LOG_WARNING, "Lease %s: %s cannot be parked: %s", l->id, ADDRESS(d->facts.address),
                            strerror(-r));
}

/* A host driver may be faster than our worker: then the plan is stale, and another one is made. */
#define ATTEMPTS_MAX 3

/* Whoever has a group by the legacy interface can open what comes to a VFIO driver in it: reachable. */
static bool is_harmless(const Device *d, bool reachable) {
        return d->facts.driver_kind == DRIVER_NEIGHBOUR || (d->facts.driver_kind == DRIVER_VFIO && !reachable);
}

static void describe(const Device *d, bool is_new, char what[static 128]) {
        if (d->facts.driver_kind == DRIVER_NONE)
                (void) snprintf(what, 128, "%s", is_new ? "appeared" : "lost its driver");
        else
                (void) snprintf(what, 128, "%s the %s driver %s", is_new ? "appeared with" : "was bound to",
                                d->facts.driver_kind == DRIVER_VFIO ? "VFIO" : "host", d->facts.driver);
}

/* What the lease has parked or holds driverless was given a driver by somebody. That cannot be prevented before the client has
 * bound a device of the group; then the kernel refuses it (iommu_device_use_default_domain). */
static void judge_own(Broker *b, Device *d, Group *g) {
        const LeaseDevice *ld = lease_device(d->lease, d->facts.address);
        bool reachable = ld && ld->role != ROLE_LEASED && hand_over_is_legacy(d->lease->hand_over);
        char what[128];

        if (d->facts.driver_kind == DRIVER_NONE || is_harmless(d, reachable) || !g || !ld || ld->joining ||
            d->lease->state != LEASE_ACTIVE) {
                d->disturbs = 0;
                return;
        }
        describe(d, false, what);
        if (d->disturbs++ == 0)
                tell(b, g, d, what);
}

void newcomer_judge(Broker *b, Device *d, bool is_new) {
        Group *g = inventory_group_of(&b->ledger.inventory, d);
        bool reachable = g && g->lease && hand_over_is_legacy(g->lease->hand_over), can_be_parked;
        char what[128];

        if (d->lease) {
                judge_own(b, d, g);
                return;
        }
        if (!g || !g->lease || g->lease->state != LEASE_ACTIVE || is_harmless(d, reachable) ||
            facts_is_bridge(&d->facts)) {
                /* What comes while a lease is prepared is one when it is ready. */
                d->newcomer = g && g->lease && g->lease->state == LEASE_PREPARING && (d->newcomer || is_new);
                d->disturbs = 0;
                return;
        }
        d->newcomer = d->newcomer || is_new;
        /* A driver that somebody bound to a device that was there before was bound on purpose: that is only told. */
        can_be_parked = !b->config.limits.report_newcomers && !d->facts.odd_override &&
                        (d->newcomer || d->facts.driver_kind == DRIVER_NONE);
        if (d->disturbs > 0 && (!can_be_parked || d->disturbs >= ATTEMPTS_MAX))
                return;
        describe(d, is_new, what);
        if (d->disturbs++ == 0)
                tell(b, g, d, what);
        if (can_be_parked)
                park(b, g->lease, d);
}

void newcomer_note_gone(Broker *b, Device *d) {
        Group *g = inventory_group_of(&b->ledger.inventory, d);

        if (g && g->lease)
                tell(b, g, d, "went away");
}
