/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/broker.h"
#include "core/mark.h"
#include "system/journal.h"

void broker_device_changed(Broker *b, Device *d) {
        Group *g = inventory_group_of(&b->ledger.inventory, d);

        if (!b->listener)
                return;
        b->listener->device_changed(d, b->listener_userdata);
        if (g)
                b->listener->group_changed(g, b->listener_userdata);
}

void broker_lease_changed(Broker *b, Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                Device *d = inventory_device(&b->ledger.inventory, l->devices[i].address);

                if (d)
                        broker_device_changed(b, d);
        }
        if (b->listener)
                b->listener->lease_changed(l, b->listener_userdata);
}

World broker_world(const Broker *b) {
        return (World) {
                .inventory = &b->ledger.inventory,
                .config = &b->config,
                .variants = &b->variants,
                .quota = &b->ledger.quota,
                .enforcement = b->enforcement,
        };
}

void broker_keep_mark(Broker *b, Device *d) {
        char text[MARK_MAX];
        bool wanted = mark_encode(d, text) > 0;
        int r;

        if (!wanted && !d->marked)
                return;
        r = store_save_mark(&b->store, d);
        if (r < 0)
                journal_log(LOG_ERR, "Cannot write down that %s is not as it should be, a restart will not know: %s",
                            ADDRESS(d->facts.address), strerror(-r));
        else
                d->marked = wanted;
}

void broker_note_forgotten(Broker *b, Address a, int group) {
        if (!b->listener || inventory_device(&b->ledger.inventory, a))
                return;
        b->listener->device_removed(a, group, b->listener_userdata);
        if (group >= 0 && !inventory_group(&b->ledger.inventory, group))
                b->listener->group_removed(group, b->listener_userdata);
}
