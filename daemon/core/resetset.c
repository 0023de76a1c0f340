/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "resetset.h"
#include "util/text.h"

const char *reset_method_to_string(ResetMethod m) {
        static const char *const names[_RESET_METHOD_MAX] = {
                [RESET_FUNCTION] = "function",
                [RESET_HOT] = "hot",
        };

        return m < _RESET_METHOD_MAX ? names[m] : "invalid";
}

bool resetset_has(const Device *d, const Device *other) {
        return d == other || address_equal(inventory_set_key(&d->facts), inventory_set_key(&other->facts));
}

static bool on_same_bus(const Device *d, const Device *other) {
        return d != other && d->facts.address.domain == other->facts.address.domain &&
               d->facts.address.bus == other->facts.address.bus;
}

bool resetset_obstacle(const Inventory *inv, const Device *d, char *buf, size_t size) {
        const Device *other;

        buf[0] = '\0';
        if (d->facts.virtual_function)
                text_append(buf, size, "it is a virtual function, which is only reset alone");
        else if (d->facts.on_root_bus)
                text_append(buf, size, "it is on the root bus, where no bridge could reset it");
        if (buf[0] != '\0')
                return true;
        /* The kernel walks the bus and all below it, and wants every device there in the same set (vfio_pci_core.c, 7.2): so neither
         * bridges nor virtual functions may be on it. */
        INVENTORY_FOREACH_DEVICE (inv, other) {
                if (!on_same_bus(d, other) || (!facts_is_bridge(&other->facts) && !other->facts.virtual_function))
                        continue;
                text_append(buf, size, "%s, %s, is on the same bus", ADDRESS(other->facts.address),
                            facts_is_bridge(&other->facts) ? "a bridge" : "a virtual function");
                return true;
        }
        return false;
}

bool resetset_is_idle(const Inventory *inv, const Device *d, const AddressList *going) {
        const Device *other;
        char why[160];

        if (resetset_obstacle(inv, d, why, sizeof(why)))
                return false;
        INVENTORY_FOREACH_DEVICE (inv, other)
                if (resetset_has(d, other) && !address_list_has(going, other->facts.address))
                        return false;
        return true;
}

bool resetset_is_exclusive(const Inventory *inv, const Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                const Device *d = inventory_device(inv, l->devices[i].address), *other;

                if (!d || l->devices[i].role != ROLE_LEASED)
                        continue;
                INVENTORY_FOREACH_DEVICE (inv, other) {
                        const Group *g = inventory_group_of(inv, other);

                        if (resetset_has(d, other) && (!g || g->lease != l))
                                return false;
                }
        }
        return true;
}
