/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simops.h"
#include "util/text.h"

int sim_op_load_module(Kernel *k, const char *module, char driver[NAME_MAX_LEN]) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "load_module", NULL);

        if (r < 0)
                return sim_leave(s, r);
        r = sim_load(s, module);
        if (r < 0)
                return sim_leave(s, r);
        (void) text_copy(driver, NAME_MAX_LEN, s->drivers[r].name);
        return sim_leave(s, 0);
}

int sim_op_set_override(Kernel *k, Address a, const char *driver) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "set_override", a, &d);

        /* Takes a lock of its own, not the device's (Linux 7.2): it does not wait for an unbind. */
        if (r >= 0)
                (void) text_copy(d->override, sizeof(d->override), driver);
        return sim_leave(s, r);
}

int sim_op_unbind(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        SimDevice *d, *held = NULL;
        int r = sim_enter_device(s, "unbind", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        /* Without the driver's link there is no "unbind" to write to, whoever holds the lock. */
        if (d->driver < 0 || d->unbinding)
                return sim_leave(s, 0);
        sim_wait_for_lock(s, d);
        if (s->worker && d->in_use && !s->worker->job->force_in_use)
                sim_breach(s, SIM_BREACH_IN_USE, d);
        /* vfio-pci and some others take the virtual functions with them. */
        if (s->drivers[d->driver].removes || (sim_driver_kind(s, d) == DRIVER_VFIO && d->n_open == 0))
                sim_remove_virtual_functions(s, d, &held);
        if (held)
                sim_hang(s, held);
        sim_unbind(s, d);
        sim_wait_for_lock(s, d);
        return sim_leave(s, 0);
}

int sim_op_bind(Kernel *k, Address a, const char *driver) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int n, r = sim_enter_device(s, "bind", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        if (streq(sim_driver_name(s, d), driver))
                return sim_leave(s, 0);
        n = sim_driver(s, driver);
        if (n < 0 || !s->drivers[n].loaded)
                return sim_leave(s, -ENOENT);
        if (!sim_matches(s, d, n))
                return sim_leave(s, -ENODEV);
        sim_wait_for_lock(s, d);
        return sim_leave(s, d->driver >= 0 ? -EBUSY : sim_attach_driver(s, d, n));
}

int sim_op_probe(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "probe", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        sim_wait_for_lock(s, d);
        sim_probe(s, d);
        return sim_leave(s, 0);
}
