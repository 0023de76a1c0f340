/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ledger.h"
#include "util/text.h"

void ledger_clear(Ledger *ledger) {
        for (size_t i = 0; i < ledger->n_leases; i++)
                lease_free(ledger->leases[i]);
        free(ledger->leases);
        inventory_clear(&ledger->inventory);
        quota_clear(&ledger->quota);
        *ledger = (Ledger) {};
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

/* The device and its group, under whatever number it goes now, become the lease's. */
static void take(Ledger *ledger, Lease *l, const LeaseDevice *ld) {
        Device *d = inventory_device(&ledger->inventory, ld->address);
        Group *g = inventory_group(&ledger->inventory, ld->group);

        if (d)
                d->lease = l;
        if (g)
                g->lease = l;
        /* Its number may have changed while the daemon was down. */
        g = d ? inventory_group_of(&ledger->inventory, d) : NULL;
        if (g)
                g->lease = l;
}

static DeviceState state_in(const Lease *l, const LeaseDevice *ld) {
        if (ld->leaving && l->state != LEASE_BROKEN)
                return DEVICE_RELEASING;
        if (ld->joining)
                return DEVICE_PREPARING;
        switch (l->state) {
        case LEASE_PREPARING:
                return DEVICE_PREPARING;
        case LEASE_ACTIVE:
                return ld->role == ROLE_LEASED ? DEVICE_LEASED : DEVICE_PARKED;
        case LEASE_BROKEN:
                return ld->released ? DEVICE_RELEASING : DEVICE_BROKEN;
        default:
                return DEVICE_RELEASING;
        }
}

void ledger_update(Ledger *ledger, Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                Device *d = inventory_device(&ledger->inventory, l->devices[i].address);

                if (!d || d->lease != l || d->state == DEVICE_BROKEN)
                        continue;
                d->state = state_in(l, &l->devices[i]);
                /* After a restart, until somebody has looked. */
                if (d->state == DEVICE_BROKEN && isempty(d->reason))
                        text_append(d->reason, sizeof(d->reason), "%s", l->reason);
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
        if (r >= 0)
                r = quota_book(&ledger->quota, l);
        if (r < 0) {
                drop_missing(&ledger->inventory, l);
                return r;
        }
        ledger->leases[ledger->n_leases++] = l;
        for (size_t i = 0; i < l->n_devices; i++)
                take(ledger, l, &l->devices[i]);
        ledger_update(ledger, l);
        return 0;
}

static bool can_join(const Ledger *ledger, const Lease *l, const LeaseDevice *ld) {
        const Device *d = inventory_device(&ledger->inventory, ld->address);
        const Group *g = inventory_group(&ledger->inventory, ld->group);
        const LeaseDevice *own = lease_device(l, ld->address);

        if (!d || d->gone || (d->lease && d->lease != l) || (g && g->lease && g->lease != l))
                return false;
        return !own || (own->role != ROLE_LEASED && !own->joining && !own->leaving);
}

int ledger_join(Ledger *ledger, Lease *l, const LeaseDevice *devices, size_t n) {
        LeaseDevice *grown;

        for (size_t i = 0; i < n; i++)
                if (!can_join(ledger, l, &devices[i]))
                        return -EBUSY;
        grown = reallocarray(l->devices, l->n_devices + n, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        l->devices = grown;
        for (size_t i = 0; i < n; i++) {
                LeaseDevice *own = lease_device(l, devices[i].address);

                if (own) {
                        /* Promoted: what it was before the lease stays known. */
                        own->role = devices[i].role;
                        (void) text_copy(own->driver, sizeof(own->driver), devices[i].driver);
                        (void) text_copy(own->module, sizeof(own->module), devices[i].module);
                } else {
                        own = &l->devices[l->n_devices++];
                        *own = devices[i];
                }
                own->joining = true;
                take(ledger, l, own);
        }
        ledger_update(ledger, l);
        return 0;
}

void ledger_leave(Ledger *ledger, Lease *l, Address a) {
        LeaseDevice *ld = lease_device(l, a);
        Device *d = inventory_device(&ledger->inventory, a);
        bool others = false;
        Group *g;

        if (!ld)
                return;
        for (size_t i = 0; i < l->n_devices; i++)
                others = others || (&l->devices[i] != ld && l->devices[i].group == ld->group);
        g = inventory_group(&ledger->inventory, ld->group);
        if (g && g->lease == l && !others)
                g->lease = NULL;
        *ld = l->devices[--l->n_devices];
        if (!d || d->lease != l)
                return;
        g = inventory_group_of(&ledger->inventory, d);
        if (g && g->lease == l && !others)
                g->lease = NULL;
        d->lease = NULL;
        if (d->state != DEVICE_BROKEN) {
                d->state = DEVICE_FREE;
                d->reason[0] = '\0';
        }
        if (d->gone)
                (void) inventory_remove_device(&ledger->inventory, a);
}

void ledger_joined(const Lease *l, LeaseDevice *ld) {
        ld->joining = false;
        /* With nothing to take, its owner can reach the device from now on. */
        if (l->hand_over == HAND_OVER_NONE)
                ld->taken = ld->role == ROLE_LEASED;
}

void ledger_activate(Ledger *ledger, Lease *l) {
        l->state = LEASE_ACTIVE;
        for (size_t i = 0; i < l->n_devices; i++)
                ledger_joined(l, &l->devices[i]);
        ledger_update(ledger, l);
}

void ledger_begin_release(Ledger *ledger, Lease *l, const char *reason) {
        l->state = LEASE_RELEASING;
        l->reason[0] = '\0';
        text_append(l->reason, sizeof(l->reason), "%s", reason);
        ledger_update(ledger, l);
}

void ledger_begin_again(Ledger *ledger, Lease *l, const char *reason) {
        for (size_t i = 0; i < l->n_devices; i++)
                /* What is proven free and could not be given back stays broken. */
                if (!l->devices[i].released)
                        ledger_device_let_go(ledger, l, &l->devices[i]);
        ledger_begin_release(ledger, l, reason);
}

void ledger_device_released(Ledger *ledger, Lease *l, LeaseDevice *ld) {
        Device *d = inventory_device(&ledger->inventory, ld->address);

        ld->released = true;
        ledger_device_let_go(ledger, l, ld);
        if (d && d->lease == l)
                d->reason[0] = '\0';
}

void ledger_device_let_go(Ledger *ledger, const Lease *l, const LeaseDevice *ld) {
        Device *d = inventory_device(&ledger->inventory, ld->address);

        if (d && d->lease == l && d->state == DEVICE_BROKEN)
                d->state = DEVICE_RELEASING;
}

void ledger_lease_broken(Ledger *ledger, Lease *l, const char *reason) {
        l->state = LEASE_BROKEN;
        l->reason[0] = '\0';
        text_append(l->reason, sizeof(l->reason), "%s", reason);
        ledger_update(ledger, l);
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
        quota_unbook(&ledger->quota, l);
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
                return d->state == DEVICE_FREE || d->state == DEVICE_BROKEN ? NULL
                                                                            : "a device without a lease is not free";
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
        return quota_check(&ledger->quota, ledger->leases, ledger->n_leases);
}
