/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "bus/bus.h"

/* Shows the daemon's interfaces to who introspects /vtables/{Manager,Device,Group,Lease,Quota} of org.iommud1.Vtables, without objects
 * behind them: a lease cannot be had without an IOMMU, but what it would look like can be compared with the contract. */

int main(void) {
        static const struct {
                const char *path, *interface;
                const sd_bus_vtable *vtable;
        } all[] = {
                { "/vtables/Manager", BUS_MANAGER, bus_manager_vtable },
                { "/vtables/Device", BUS_DEVICE, bus_device_vtable },
                { "/vtables/Group", BUS_GROUP, bus_group_vtable },
                { "/vtables/Lease", BUS_LEASE, bus_lease_vtable },
                { "/vtables/Quota", BUS_QUOTA, bus_quota_vtable },
        };
        sd_bus *bus = NULL;
        int r = sd_bus_open_system(&bus);

        for (size_t i = 0; r >= 0 && i < sizeof(all) / sizeof(all[0]); i++)
                r = sd_bus_add_object_vtable(bus, NULL, all[i].path, all[i].interface, all[i].vtable, NULL);
        if (r >= 0)
                r = sd_bus_request_name(bus, "org.iommud1.Vtables", 0);
        if (r >= 0)
                (void) puts("ready");
        (void) fflush(stdout);
        while (r >= 0) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
        }
        sd_bus_flush_close_unref(bus);
        return 0; /* the bus was closed: the test is over */
}
