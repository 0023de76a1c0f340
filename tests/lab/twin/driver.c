/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include "twin/act.h"
#include "util/text.h"

/* Drivers and resets. */

static const char *some_driver(Twin *t, size_t device) {
        static const char *const names[] = { "vfio-pci", "vfio-pci", "vfio-pci", "pci-stub", "nosuch" };
        unsigned n = twin_below(t, ARRAY_SIZE(names) + 1);

        return n < ARRAY_SIZE(names) ? names[n] : t->hosts[device];
}

static void set_override(Twin *t) {
        size_t i = pair_index(t);
        Address a = t->devices[i];
        const char *driver = twin_below(t, 3) == 0 ? "" : some_driver(t, i);

        twin_note(t, "set_override %s \"%s\"", ADDRESS(a), driver);
        twin_result(t, "set_override", t->real->ops->set_override(t->real, a, driver),
                    SIM_OPS(t)->set_override(SIM_K(t), a, driver));
}

static void bind_driver(Twin *t) {
        size_t i = pair_index(t);
        Address a = t->devices[i];
        const char *driver = some_driver(t, i);

        if (isempty(driver))
                return;
        twin_note(t, "bind %s %s", ADDRESS(a), driver);
        twin_result(t, "bind", t->real->ops->bind(t->real, a, driver), SIM_OPS(t)->bind(SIM_K(t), a, driver));
}

void driver_give_to_vfio(Twin *t, Address a) {
        if (pair_sim(t, a)->n_open > 0 || virtual_is_held(t, a))
                return;
        twin_note(t, "give %s to vfio-pci", ADDRESS(a));
        twin_result(t, "set_override", t->real->ops->set_override(t->real, a, "vfio-pci"),
                    SIM_OPS(t)->set_override(SIM_K(t), a, "vfio-pci"));
        twin_result(t, "unbind", t->real->ops->unbind(t->real, a), SIM_OPS(t)->unbind(SIM_K(t), a));
        twin_result(t, "bind", t->real->ops->bind(t->real, a, "vfio-pci"), SIM_OPS(t)->bind(SIM_K(t), a, "vfio-pci"));
}

static void give_to_vfio(Twin *t) {
        driver_give_to_vfio(t, pair_device(t));
}

static void probe(Twin *t) {
        Address a = pair_device(t);

        twin_note(t, "probe %s", ADDRESS(a));
        twin_result(t, "probe", t->real->ops->probe(t->real, a), SIM_OPS(t)->probe(SIM_K(t), a));
}

static int unbind_device(Kernel *k, Address a) {
        return k->ops->unbind(k, a);
}

static void unbind_open_device(Twin *t, Address a) {
        pid_t pid = child_start(unbind_device, a);
        int r = SIM_OPS(t)->unbind(SIM_K(t), a);

        /* As long as it takes: the device leaves VFIO, and then the unbind waits. */
        while (t->real->ops->is_registered(t->real, a) == 1)
                (void) usleep(1000);
        twin_note(t, "... which waits");
        compare_all(t);
        pair_close_all_of(t, a);
        twin_result(t, "unbind", child_wait(pid), r);
}

static void unbind(Twin *t) {
        Address a = pair_device(t);

        if (virtual_is_held(t, a))
                return;
        twin_note(t, "unbind %s", ADDRESS(a));
        if (sim_driver_kind(t->sim, pair_sim(t, a)) == DRIVER_VFIO && pair_sim(t, a)->n_open > 0)
                unbind_open_device(t, a);
        else
                twin_result(t, "unbind", t->real->ops->unbind(t->real, a), SIM_OPS(t)->unbind(SIM_K(t), a));
}

/* --- resets: never under a host driver, as the worker does it --- */

static bool is_set_of_host(Twin *t, Address a) {
        for (size_t i = 0; i < t->sim->n_devices; i++) {
                const SimDevice *d = &t->sim->devices[i];

                if (d->facts.address.domain == a.domain && d->facts.address.bus == a.bus &&
                    (sim_driver_kind(t->sim, d) == DRIVER_HOST || d->n_open > 0))
                        return true;
        }
        return false;
}

static void reset(Twin *t) {
        Address a = pair_device(t);
        const SimDevice *d = pair_sim(t, a);

        if (sim_driver_kind(t->sim, d) == DRIVER_HOST || d->n_open > 0)
                return;
        twin_note(t, "reset %s", ADDRESS(a));
        twin_result(t, "reset", t->real->ops->reset(t->real, a), SIM_OPS(t)->reset(SIM_K(t), a));
}

static void reset_bus(Twin *t) {
        Address a = pair_device(t);

        if (!pair_sim(t, a)->facts.on_root_bus && is_set_of_host(t, a))
                return;
        twin_note(t, "reset_bus %s", ADDRESS(a));
        twin_result(t, "reset_bus", t->real->ops->reset_bus(t->real, a), SIM_OPS(t)->reset_bus(SIM_K(t), a));
}

static void reset_open(Twin *t) {
        const Pair *p = pair_some(t, PAIR_DEVICE);

        if (!p)
                return;
        twin_note(t, "reset_open %d", p->real);
        twin_result(t, "reset_open", t->real->ops->reset_open(t->real, p->real),
                    SIM_OPS(t)->reset_open(SIM_K(t), p->sim));
}

static void hot_reset(Twin *t) {
        const Pair *p = pair_some(t, PAIR_DEVICE);

        if (!p)
                return;
        twin_note(t, "hot_reset %d", p->real);
        twin_result(t, "hot_reset", t->real->ops->hot_reset(t->real, p->real), SIM_OPS(t)->hot_reset(SIM_K(t), p->sim));
}

const Action driver_actions[] = {
        { give_to_vfio, 16 }, { set_override, 8 }, { bind_driver, 10 }, { probe, 4 },     { unbind, 10 },
        { reset, 3 },         { reset_bus, 2 },    { reset_open, 3 },   { hot_reset, 3 }, {},
};
