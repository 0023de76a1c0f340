/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/reread.h"
#include "broker/run.h"
#include "core/virtual.h"
#include "system/journal.h"

static int refresh_group(Broker *b, int id) {
        bool known = inventory_group(&b->ledger.inventory, id) != NULL;
        GroupFacts facts;
        Group *g;
        int r;

        r = b->kernel->ops->read_group(b->kernel, id, &facts);
        if (r < 0)
                return r;
        r = inventory_put_group(&b->ledger.inventory, &facts, &g);
        if (r < 0)
                return r;
        if (!known && b->listener)
                b->listener->group_added(g, b->listener_userdata);
        return 0;
}

static int read_device(Broker *b, Address a) {
        DeviceFacts facts;
        Device *d;
        int r;

        r = b->kernel->ops->read_device(b->kernel, a, &facts);
        if (r < 0)
                return r;
        if (facts.group >= 0) {
                r = refresh_group(b, facts.group);
                if (r < 0)
                        return r;
        }
        r = inventory_put_device(&b->ledger.inventory, &facts, &d);
        if (r < 0)
                return r;
        /* A driver that takes the device again has mended it. */
        if (d->state == DEVICE_BROKEN && !d->lease && facts.driver_kind == DRIVER_HOST) {
                d->state = DEVICE_FREE;
                d->reason[0] = '\0';
        }
        broker_keep_mark(b, d);
        if (r > 0 && b->listener)
                b->listener->device_added(d, b->listener_userdata);
        broker_device_changed(b, d);
        b->hooks->device_read(b, d, r > 0);
        return 0;
}

static void forget(Broker *b, Address a) {
        Inventory *inv = &b->ledger.inventory;
        Device *d = inventory_device(inv, a);
        int group;

        if (!d)
                return;
        group = d->facts.group;
        store_remove_mark(&b->store, a); /* what comes back has been without power */
        if (!inventory_remove_device(inv, a)) {
                b->hooks->device_gone(b, d);
                broker_device_changed(b, d);
                return;
        }
        broker_note_forgotten(b, a, group);
}

/* Some sysfs attributes take the device's lock, which a worker may hold for long: what it works on is not looked at. */
static bool is_worked_on(const Broker *b, const Device *d) {
        const LeaseRun *run = d->lease ? run_find(b, d->lease) : NULL;
        const LeaseDevice *ld = run ? lease_device(d->lease, d->facts.address) : NULL;

        if (virtual_is_changing(&b->ledger.inventory, d) || (ld && run->devices[run_index(run, ld)].part->task))
                return true;
        /* Whoever takes a device away holds its lock until it is closed, perhaps before we were told. */
        return ld && !d->gone && ld->opened && !ld->closed &&
               (ld->pulled || b->kernel->ops->is_registered(b->kernel, d->facts.address) == 0);
}

/* The kernel tells of virtual functions that go, and not of the device that had them. Its attributes are not read: some take its lock,
 * which whoever removes them has until the last of them is closed. */
static void count_functions(Broker *b, Device *physical) {
        uint32_t n = 0;
        Address vf;

        for (unsigned i = 0; i < physical->facts.virtual_functions_max; i++)
                n += b->kernel->ops->virtual_function(b->kernel, physical->facts.address, i, &vf) >= 0;
        physical->facts.virtual_functions = n;
        broker_device_changed(b, physical);
}

static void forget_gone(Broker *b, Address a) {
        const Device *d = inventory_device(&b->ledger.inventory, a);
        Device *physical = NULL;

        if (d && d->facts.virtual_function)
                physical = inventory_device(&b->ledger.inventory, d->facts.physical_function);
        forget(b, a);
        if (physical)
                count_functions(b, physical);
}

void reread_removed(Broker *b, Address a) {
        forget_gone(b, a);
        /* Another one may have come to its place meanwhile, which was seen already and is not told of once more. */
        if (b->kernel->ops->is_registered(b->kernel, a) != -ENODEV)
                reread_device(b, a);
}

void reread_device(Broker *b, Address a) {
        Device *d = inventory_device(&b->ledger.inventory, a);
        int r;

        if (d && is_worked_on(b, d))
                return;
        r = read_device(b, a);
        if (r == -ENODEV)
                forget_gone(b, a);
        else if (r < 0)
                journal_log(LOG_WARNING, "Cannot read %s: %s", ADDRESS(a), strerror(-r));
}

/* Those that are not in the list have gone. */
static void forget_others(Broker *b, const Address *list, size_t n) {
        const Inventory *inv = &b->ledger.inventory;

        for (size_t i = inv->n_devices; i > 0; i--) {
                Address a = inv->devices[i - 1]->facts.address;
                bool there = false;

                for (size_t j = 0; j < n && !there; j++)
                        there = address_equal(list[j], a);
                if (!there && !inv->devices[i - 1]->gone)
                        forget(b, a);
        }
}

int reread_all(Broker *b) {
        _cleanup_free_ Address *list = NULL;
        size_t n;
        int r;

        r = b->kernel->ops->read_platform(b->kernel, &b->ledger.inventory.platform);
        if (r < 0)
                return r;
        r = b->kernel->ops->list_devices(b->kernel, &list, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                reread_device(b, list[i]);
        forget_others(b, list, n);
        return 0;
}
