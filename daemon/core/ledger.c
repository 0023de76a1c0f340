/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ledger.h"
#include "util/text.h"

void ledger_clear(Ledger *ledger) {
        for (size_t i = 0; i < ledger->n_leases; i++)
                lease_free(ledger->leases[i]);
        free(ledger->leases);
        inventory_clear(&ledger->inventory);
        *ledger = (Ledger){};
}

Lease *ledger_lease(const Ledger *ledger, const char *id) {
        for (size_t i = 0; i < ledger->n_leases; i++)
                if (streq(ledger->leases[i]->id, id))
                        return ledger->leases[i];
        return NULL;
}

Usage ledger_usage(const Ledger *ledger, uid_t uid) {
        Usage usage = { .all_leases = (uint32_t) ledger->n_leases };

        for (size_t i = 0; i < ledger->n_leases; i++) {
                const Lease *l = ledger->leases[i];

                if (l->uid != uid)
                        continue;
                usage.leases++;
                usage.devices += (uint32_t) l->n_devices;
        }
        return usage;
}

/* True if nothing of the lease belongs to another one. */
static bool is_available(const Ledger *ledger, const Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                const Device *d = inventory_device(&ledger->inventory, l->devices[i].address);
                const Group *g = inventory_group(&ledger->inventory, l->devices[i].group);
                const Group *now = d ? inventory_group_of(&ledger->inventory, d) : NULL;

                if ((d && d->lease) || (g && g->lease) || (now && now->lease))
                        return false;
        }
        return true;
}

static DeviceState state_in(const Lease *l, const LeaseDevice *ld) {
        switch (l->state) {
        case LEASE_PREPARING:
                return DEVICE_PREPARING;
        case LEASE_ACTIVE:
                return ld->role == ROLE_LEASED ? DEVICE_LEASED : DEVICE_PARKED;
        default:
                return DEVICE_RELEASING;
        }
}

static void update_devices(Ledger *ledger, Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                Device *d = inventory_device(&ledger->inventory, l->devices[i].address);

                if (d && d->lease == l && d->state != DEVICE_BROKEN)
                        d->state = state_in(l, &l->devices[i]);
        }
}

/* A device that was pulled while the daemon was down is still the lease's when it comes back, like one that was pulled under
 * the daemon's eyes; otherwise somebody else could have it in the meantime. */
static int add_missing(Inventory *inv, const LeaseDevice *ld) {
        DeviceFacts facts = { .address = ld->address, .group = ld->group, .numa_node = -1 };
        GroupFacts group = { .id = ld->group };
        Device *d;
        Group *g;
        int r = 0;

        if (ld->group >= 0 && !inventory_group(inv, ld->group))
                r = inventory_put_group(inv, &group, &g);
        if (r < 0 || inventory_device(inv, ld->address))
                return r;
        r = inventory_put_device(inv, &facts, &d);
        if (r < 0)
                return r;
        d->gone = true;
        return 0;
}

/* Forgets what was pulled, unless a lease still has it. */
static void drop_missing(Inventory *inv, const Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                const Device *d = inventory_device(inv, l->devices[i].address);

                if (d && d->gone && !d->lease)
                        (void) inventory_remove_device(inv, l->devices[i].address);
        }
}

int ledger_open(Ledger *ledger, Lease *l) {
        Lease **grown;
        int r = 0;

        if (!is_available(ledger, l))
                return -EBUSY;
        grown = reallocarray(ledger->leases, ledger->n_leases + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        ledger->leases = grown;
        for (size_t i = 0; r >= 0 && i < l->n_devices; i++)
                r = add_missing(&ledger->inventory, &l->devices[i]);
        if (r < 0) {
                drop_missing(&ledger->inventory, l);
                return r;
        }
        ledger->leases[ledger->n_leases++] = l;
        for (size_t i = 0; i < l->n_devices; i++) {
                Device *d = inventory_device(&ledger->inventory, l->devices[i].address);
                Group *g = inventory_group(&ledger->inventory, l->devices[i].group);

                if (d)
                        d->lease = l;
                if (g)
                        g->lease = l;
                /* Its number may have changed while the daemon was down. */
                g = d ? inventory_group_of(&ledger->inventory, d) : NULL;
                if (g)
                        g->lease = l;
        }
        update_devices(ledger, l);
        return 0;
}

void ledger_activate(Ledger *ledger, Lease *l) {
        l->state = LEASE_ACTIVE;
        update_devices(ledger, l);
}

void ledger_begin_release(Ledger *ledger, Lease *l, const char *reason) {
        l->state = LEASE_RELEASING;
        l->reason[0] = '\0';
        text_append(l->reason, sizeof(l->reason), "%s", reason);
        update_devices(ledger, l);
}

void ledger_device_released(Ledger *ledger, Lease *l, LeaseDevice *ld) {
        Device *d = inventory_device(&ledger->inventory, ld->address);

        ld->released = true;
        if (d && d->lease == l)
                d->reason[0] = '\0';
}

void ledger_device_broken(Ledger *ledger, Lease *l, LeaseDevice *ld, const char *reason) {
        Device *d = inventory_device(&ledger->inventory, ld->address);

        if (!d || d->lease != l)
                return;
        d->state = DEVICE_BROKEN;
        d->reason[0] = '\0';
        text_append(d->reason, sizeof(d->reason), "%s", reason);
}

void ledger_close(Ledger *ledger, Lease *l) {
        Device *d;
        Group *g;

        INVENTORY_FOREACH_GROUP (&ledger->inventory, g)
                if (g->lease == l)
                        g->lease = NULL;
        INVENTORY_FOREACH_DEVICE (&ledger->inventory, d) {
                if (d->lease != l)
                        continue;
                d->lease = NULL;
                if (d->state != DEVICE_BROKEN) {
                        d->state = DEVICE_FREE;
                        d->reason[0] = '\0';
                }
        }
        /* What was pulled while it was leased is forgotten only now. */
        drop_missing(&ledger->inventory, l);
        for (size_t i = 0; i < ledger->n_leases; i++) {
                if (ledger->leases[i] != l)
                        continue;
                ledger->leases[i] = ledger->leases[--ledger->n_leases];
                break;
        }
        lease_free(l);
}

static bool has_lease(const Ledger *ledger, const Lease *l) {
        for (size_t i = 0; i < ledger->n_leases; i++)
                if (ledger->leases[i] == l)
                        return true;
        return false;
}

static const char *check_device(const Ledger *ledger, const Device *d) {
        const Group *g = inventory_group_of(&ledger->inventory, d);

        if (!d->lease)
                return d->state == DEVICE_FREE || d->state == DEVICE_BROKEN ? NULL : "a device without a lease is not free";
        if (!has_lease(ledger, d->lease))
                return "a device points at a lease that is not there";
        if (!lease_device(d->lease, d->facts.address))
                return "a device points at a lease that does not have it";
        if (g && g->lease != d->lease)
                return "a device and its group have different owners";
        if (d->state == DEVICE_FREE)
                return "a leased device is called free";
        return NULL;
}

const char *ledger_check(const Ledger *ledger) {
        const char *why = NULL;
        const Device *d;
        const Group *g;
        const Lease *l;

        INVENTORY_FOREACH_DEVICE (&ledger->inventory, d) {
                why = check_device(ledger, d);
                if (why)
                        return why;
        }
        INVENTORY_FOREACH_GROUP (&ledger->inventory, g)
                if (g->lease && !has_lease(ledger, g->lease))
                        return "a group points at a lease that is not there";
        LEDGER_FOREACH_LEASE (ledger, l) {
                for (size_t i = 0; i < l->n_devices; i++) {
                        d = inventory_device(&ledger->inventory, l->devices[i].address);
                        if (!d || d->lease != l)
                                return "a lease has a device that is missing or points elsewhere";
                }
        }
        return NULL;
}
