/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <syslog.h>

#include "broker/acquire.h"
#include "broker/newcomer.h"
#include "system/journal.h"
#include "util/text.h"

static void tell(Broker *b, Group *g, const Device *d, const char *what) {
        journal_log(LOG_WARNING, "Lease %s: group %d is disturbed: %s %s", g->lease->id, g->facts.id,
                    ADDRESS(d->facts.address), what);
        if (b->listener)
                b->listener->group_disturbed(g, d->facts.address, what, b->listener_userdata);
}

static void on_parked(_unused_ Lease *l, const AddressList *added, _unused_ const char *error_name, const char *text,
                      _unused_ void *userdata) {
        if (!added)
                journal_log(LOG_WARNING, "A newcomer could not be parked: %s", text);
}

/* The newcomer becomes the lease's, handed to nobody. */
static void park(Broker *b, Lease *l, const Device *d) {
        const VariantAlias *a = variant_candidate(&b->variants, d->facts.modalias, VARIANT_PLAIN_DRIVER);
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
                };
                (void) text_copy(ld->original_driver, sizeof(ld->original_driver), d->facts.driver);
                (void) text_copy(ld->original_override, sizeof(ld->original_override), d->facts.driver_override);
                (void) text_copy(ld->driver, sizeof(ld->driver), a ? a->driver : VARIANT_PLAIN_DRIVER);
                (void) text_copy(ld->module, sizeof(ld->module), a ? a->module : VARIANT_PLAIN_MODULE);
                r = acquire_join(b, l, &plan, on_parked, NULL);
        }
        if (r < 0)
                journal_log(LOG_WARNING, "Lease %s: %s cannot be parked: %s", l->id, ADDRESS(d->facts.address),
                            strerror(-r));
}

/* A host driver may be faster than our worker: then the plan is stale, and another one is made. */
#define ATTEMPTS_MAX 3

void newcomer_judge(Broker *b, Device *d, bool is_new) {
        Group *g = inventory_group_of(&b->ledger.inventory, d);
        bool harmless = d->facts.driver_kind == DRIVER_NEIGHBOUR || d->facts.driver_kind == DRIVER_VFIO, can_be_parked;
        char what[128];

        if (d->lease)
                return;
        if (!g || !g->lease || g->lease->state != LEASE_ACTIVE || harmless || facts_is_bridge(&d->facts)) {
                d->newcomer = false;
                d->disturbs = 0;
                return;
        }
        d->newcomer = d->newcomer || is_new;
        /* A driver that somebody bound to a device that was there before was bound on purpose: that is only told. */
        can_be_parked = !b->config.limits.report_newcomers && (d->newcomer || d->facts.driver_kind == DRIVER_NONE);
        if (d->disturbs > 0 && (!can_be_parked || d->disturbs >= ATTEMPTS_MAX))
                return;
        if (d->facts.driver_kind == DRIVER_HOST)
                (void) snprintf(what, sizeof(what), "%s the host driver %s", is_new ? "appeared with" : "was bound to",
                                d->facts.driver);
        else
                (void) snprintf(what, sizeof(what), "%s", is_new ? "appeared" : "lost its driver");
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
