/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "twin/act.h"
#include "util/text.h"

/* Devices that go and come back. The removal of one that is open would wait for its holder, who is this program, with the lock that all
 * hotplug takes. Of a virtual function that was removed alone the physical one keeps a link for ever, so that it makes no others. And
 * QEMU's functions after the first do not say that they have neighbours: one that comes back gets a group of its own. */

#define PROBE_SECONDS 60

static void write_one(const char *path) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, "1", 1) != 1)
                abort();
        (void) close(fd);
}

static void remove_device(Twin *t) {
        Address a = pair_device(t);
        SimDevice *d = pair_sim(t, a);
        char path[128];

        if (!d->present || d->n_open > 0 || virtual_is_held(t, a) || d->facts.virtual_function || (a.devfn & 7) != 0)
                return;
        twin_note(t, "remove %s", ADDRESS(a));
        (void) snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", ADDRESS(a));
        write_one(path);
        sim_vanish(t->sim, d);
        twin_same(t, "remove", t->real->ops->is_registered(t->real, a), SIM_OPS(t)->is_registered(SIM_K(t), a));
}

/* Some drivers probe while others go on, and rescan does not wait for them. */
static void wait_for_driver(Twin *t, Address a) {
        const char *driver = sim_driver_name(t->sim, pair_sim(t, a));
        DeviceFacts f = {};

        for (unsigned i = 0; i < PROBE_SECONDS * 1000; i++) {
                if (t->real->ops->read_device(t->real, a, &f) >= 0 && streq(f.driver, driver))
                        return;
                (void) usleep(1000);
        }
}

void hotplug_rescan(Twin *t) {
        twin_note(t, "rescan");
        write_one("/sys/bus/pci/rescan");
        for (size_t i = 0; i < t->sim->n_devices; i++) {
                SimDevice *d = &t->sim->devices[i];

                if (d->present || d->facts.virtual_function)
                        continue;
                twin_result(t, "appear", 1, sim_appear(t->sim, d, false));
                wait_for_driver(t, d->facts.address);
        }
}

const Action hotplug_actions[] = {
        { remove_device, 5 },
        { hotplug_rescan, 4 },
        {},
};
