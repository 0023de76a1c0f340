/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "twin/act.h"

/* Both kernels as whoever reads sysfs sees them. */

static void compare_device(Twin *t, Address a) {
        Kernel *real = t->real, *sim = &t->sim->kernel;
        DeviceFacts r = {}, s = {};
        GroupFacts rg, sg;
        int there = real->ops->read_device(real, a, &r);

        twin_same(t, "read_device", there, sim->ops->read_device(sim, a, &s));
        if (there < 0 || t->differs)
                return;
        twin_same_text(t, "driver", r.driver, s.driver);
        twin_same_text(t, "driver_override", r.driver_override, s.driver_override);
        twin_same_text(t, "reset_method", r.reset_methods, s.reset_methods);
        twin_same(t, "kind of driver", r.driver_kind, s.driver_kind);
        twin_same(t, "on the root bus", r.on_root_bus, s.on_root_bus);
        twin_same(t, "is a virtual function", r.virtual_function, s.virtual_function);
        twin_same(t, "virtual functions", r.virtual_functions, s.virtual_functions);
        twin_same(t, "has a character device", r.cdev[0] != '\0', s.cdev[0] != '\0');
        twin_same(t, "is_registered", real->ops->is_registered(real, a), sim->ops->is_registered(sim, a));
        twin_same(t, "read_group", real->ops->read_group(real, r.group, &rg), sim->ops->read_group(sim, s.group, &sg));
        /* A node is there while a device of its group is on a VFIO driver, and is root's alone. */
        twin_same(t, "set_node_user", real->ops->set_node_user(real, r.group, KERNEL_NOBODY),
                  sim->ops->set_node_user(sim, s.group, KERNEL_NOBODY));
}

/* Which devices are in one group. */
static void compare_groups(Twin *t) {
        Numbers groups[TWIN_DEVICES_MAX];

        for (size_t i = 0; i < t->n_devices && !t->differs; i++) {
                groups[i] = pair_group(t, t->devices[i]);
                for (size_t j = 0; j < i; j++)
                        if ((groups[i].real == groups[j].real) != (groups[i].sim == groups[j].sim))
                                twin_same(t, "group", groups[i].real, groups[i].sim);
        }
}

void compare_all(Twin *t) {
        for (size_t i = 0; i < t->n_devices && !t->differs; i++) {
                compare_device(t, t->devices[i]);
                if (t->differs)
                        printf("  ... of %s\n", ADDRESS(t->devices[i]));
        }
        compare_groups(t);
}
