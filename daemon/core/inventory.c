/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "inventory.h"
#include "util/text.h"

static const char *const device_states[_DEVICE_STATE_MAX] = {
        [DEVICE_FREE] = "free",     [DEVICE_PREPARING] = "preparing", [DEVICE_LEASED] = "leased",
        [DEVICE_PARKED] = "parked", [DEVICE_RELEASING] = "releasing", [DEVICE_BROKEN] = "broken",
};

const char *device_state_to_string(DeviceState s) {
        return s < _DEVICE_STATE_MAX ? device_states[s] : "invalid";
}

DeviceState device_state_from_string(const char *s) {
        for (DeviceState i = 0; i < _DEVICE_STATE_MAX; i++)
                if (streq(device_states[i], s))
                        return i;
        return _DEVICE_STATE_MAX;
}

void inventory_clear(Inventory *inv) {
        for (size_t i = 0; i < inv->n_devices; i++)
                free(inv->devices[i]);
        for (size_t i = 0; i < inv->n_groups; i++)
                free(inv->groups[i]);
        free(inv->devices);
        free(inv->groups);
        *inv = (Inventory) {};
}

/* The place of a device, or where it would be inserted. */
static size_t device_index(const Inventory *inv, Address a) {
        size_t low = 0, high = inv->n_devices;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (address_compare(inv->devices[middle]->facts.address, a) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static size_t group_index(const Inventory *inv, int id) {
        size_t low = 0, high = inv->n_groups;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (inv->groups[middle]->facts.id < id)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

Device *inventory_device(const Inventory *inv, Address a) {
        size_t i = device_index(inv, a);

        return i < inv->n_devices && address_equal(inv->devices[i]->facts.address, a) ? inv->devices[i] : NULL;
}

Group *inventory_group(const Inventory *inv, int id) {
        size_t i = group_index(inv, id);

        return i < inv->n_groups && inv->groups[i]->facts.id == id ? inv->groups[i] : NULL;
}

Group *inventory_group_of(const Inventory *inv, const Device *d) {
        return d->facts.group < 0 ? NULL : inventory_group(inv, d->facts.group);
}

/* Makes room for one more pointer at place i of an array of n. */
static int insert_slot(void *array, size_t n, size_t i, void *item) {
        void ***a = array;
        void **grown = reallocarray(*a, n + 1, sizeof(void *));

        if (!grown)
                return -ENOMEM;
        memmove(grown + i + 1, grown + i, (n - i) * sizeof(void *));
        grown[i] = item;
        *a = grown;
        return 0;
}

int inventory_put_device(Inventory *inv, const DeviceFacts *facts, Device **ret) {
        Device *d = inventory_device(inv, facts->address);
        Group *g;
        int r;

        if (d) {
                if (!streq(d->facts.modalias, facts->modalias))
                        d->vendor_name = d->model_name = NULL;
                d->facts = *facts;
                /* What comes back at an address need not be what was there. */
                if (d->gone)
                        d->gone = d->surveying = d->surveyed = false;
                /* A leased device that comes back in another group takes that group along: it has one owner, too. */
                g = inventory_group_of(inv, d);
                if (d->lease && g && !g->lease)
                        g->lease = d->lease;
                *ret = d;
                return 0;
        }
        _cleanup_free_ Device *fresh = calloc(1, sizeof(*fresh));
        if (!fresh)
                return -ENOMEM;
        fresh->facts = *facts;
        r = insert_slot(&inv->devices, inv->n_devices, device_index(inv, facts->address), fresh);
        if (r < 0)
                return r;
        inv->n_devices++;
        *ret = TAKE_PTR(fresh);
        return 1;
}

int inventory_put_group(Inventory *inv, const GroupFacts *facts, Group **ret) {
        Group *g = inventory_group(inv, facts->id);
        int r;

        if (g) {
                g->facts = *facts;
                *ret = g;
                return 0;
        }
        _cleanup_free_ Group *fresh = calloc(1, sizeof(*fresh));
        if (!fresh)
                return -ENOMEM;
        fresh->facts = *facts;
        r = insert_slot(&inv->groups, inv->n_groups, group_index(inv, facts->id), fresh);
        if (r < 0)
                return r;
        inv->n_groups++;
        *ret = TAKE_PTR(fresh);
        return 1;
}

static void remove_group_if_empty(Inventory *inv, int id) {
        size_t i = group_index(inv, id);
        Device *d;

        if (i >= inv->n_groups || inv->groups[i]->facts.id != id || inv->groups[i]->lease)
                return;
        INVENTORY_FOREACH_DEVICE (inv, d)
                if (d->facts.group == id)
                        return;
        free(inv->groups[i]);
        memmove(inv->groups + i, inv->groups + i + 1, (--inv->n_groups - i) * sizeof(Group *));
}

bool inventory_remove_device(Inventory *inv, Address a) {
        Device *d = inventory_device(inv, a);
        size_t i = device_index(inv, a);
        int group;

        if (!d)
                return false;
        if (d->lease) {
                d->gone = true;
                return false;
        }
        group = d->facts.group;
        free(d);
        memmove(inv->devices + i, inv->devices + i + 1, (--inv->n_devices - i) * sizeof(Device *));
        remove_group_if_empty(inv, group);
        return true;
}

Address inventory_set_key(const DeviceFacts *f) {
        /* A virtual function is reset alone, and nothing above a root bus device could reset it. */
        if (f->on_root_bus || f->virtual_function)
                return f->address;
        return (Address) { .domain = f->address.domain, .bus = f->address.bus, .devfn = 0 };
}
