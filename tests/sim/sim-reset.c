/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simops.h"
#include "util/text.h"

/* The reset of a bus that has other devices on it is no reset of one of them, although reset_method goes on listing it
 * (pci_parent_bus_reset, Linux 7.2). */
static bool can_reset(const Sim *s, const SimDevice *d) {
        if (!streq(d->facts.reset_methods, "bus"))
                return !isempty(d->facts.reset_methods);
        for (size_t i = 0; i < s->n_devices; i++) {
                const SimDevice *o = &s->devices[i];

                if (o != d && o->present && o->facts.address.domain == d->facts.address.domain &&
                    o->facts.address.bus == d->facts.address.bus)
                        return false;
        }
        return true;
}

static bool has_hot_reset(const SimDevice *d) {
        return !d->facts.on_root_bus;
}

static bool is_on_bus_of(const SimDevice *a, const SimDevice *b) {
        return a->present && a->facts.address.domain == b->facts.address.domain &&
               a->facts.address.bus == b->facts.address.bus;
}

/* The kernel asks nobody: whoever resets it has to know that nobody is at it. */
static void reset_idle(Sim *s, SimDevice *d) {
        if (sim_driver_kind(s, d) == DRIVER_HOST)
                sim_breach(s, SIM_BREACH_RESET_ON_HOST, d);
        if (d->n_open > 0)
                sim_breach(s, SIM_BREACH_RESET_OPEN, d);
        d->dirty = false;
}

int sim_op_reset(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "reset", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        if (!can_reset(s, d))
                return sim_leave(s, -ENOTTY);
        sim_wait_for_lock(s, d);
        reset_idle(s, d);
        return sim_leave(s, 0);
}

int sim_op_reset_bus(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "reset_bus", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        if (!has_hot_reset(d))
                return sim_leave(s, -ENOTTY);
        for (size_t i = 0; i < s->n_devices; i++) {
                SimDevice *o = &s->devices[i];

                if (!o->present || o->facts.virtual_function || o->facts.address.bus != a.bus ||
                    o->facts.address.domain != a.domain)
                        continue;
                reset_idle(s, o);
        }
        return sim_leave(s, 0);
}

int sim_reset_open(Sim *s, int fd) {
        const SimFile *f = sim_file(s, fd);
        SimDevice *d = sim_device_of_fd(s, fd);

        if (!f)
                return -EBADF;
        /* One that is not bound yet says the same. */
        if (!d || (f->bound == 0 && f->via < 0) || !can_reset(s, d))
                return -ENOTTY;
        if (!d->present)
                return -ENODEV;
        d->dirty = false;
        return 0;
}

static bool is_owned(const Sim *s, const SimDevice *d, const SimFile *f) {
        return sim_driver_kind(s, d) == DRIVER_VFIO && s->groups[d->group].owner == f->bound;
}

/* Virtual functions are on the bus, too. */
static bool is_set_owned(const Sim *s, const SimDevice *of, const SimFile *f) {
        for (size_t i = 0; i < s->n_devices; i++) {
                const SimDevice *d = &s->devices[i];

                if (is_on_bus_of(d, of) && !is_owned(s, d, f))
                        return false;
        }
        return true;
}

void sim_read_reset_facts(const Sim *s, const SimDevice *d, const SimFile *f, BoundFacts *ret) {
        ret->can_reset = can_reset(s, d);
        ret->hot_reset_possible = has_hot_reset(d);
        ret->hot_reset_owned = ret->hot_reset_possible && f->via < 0 && is_set_owned(s, d, f);
}

int sim_hot_reset(Sim *s, int fd) {
        const SimFile *f = sim_file(s, fd);
        const SimDevice *d = sim_device_of_fd(s, fd);

        if (!f)
                return -EBADF;
        /* By the legacy interface the groups' descriptors have to be shown. */
        if (!d || f->bound == 0)
                return d ? -EINVAL : -ENOTTY;
        if (!d->present || !has_hot_reset(d))
                return -ENODEV;
        if (!is_set_owned(s, d, f))
                return -EINVAL;
        for (size_t i = 0; i < s->n_devices; i++)
                if (is_on_bus_of(&s->devices[i], d))
                        s->devices[i].dirty = false;
        return 0;
}

int sim_op_reset_open(Kernel *k, int device_fd) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "reset_open", sim_device_of_fd(s, device_fd));

        return sim_leave(s, r < 0 ? r : sim_reset_open(s, device_fd));
}

int sim_op_hot_reset(Kernel *k, int device_fd) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "hot_reset", sim_device_of_fd(s, device_fd));

        return sim_leave(s, r < 0 ? r : sim_hot_reset(s, device_fd));
}
