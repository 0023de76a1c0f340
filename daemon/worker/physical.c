/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/physical.h"

static bool has_holder(const Holders *h, int pid) {
        for (size_t i = 0; i < h->n; i++)
                if (h->holders[i].pid == pid)
                        return true;
        return false;
}

static void add_holders(Holders *to, const Holders *from) {
        to->more = to->more || from->more;
        for (size_t i = 0; i < from->n; i++)
                if (has_holder(to, from->holders[i].pid))
                        continue; /* it has several of them open */
                else if (to->n < HOLDERS_MAX)
                        to->holders[to->n++] = from->holders[i];
                else
                        to->more = true;
}

/* For a virtual function that has gone meanwhile: only its physical one may be called gone (ENODEV) to whoever asked about that. */
static int unless_gone(int r) {
        return r == -ENODEV ? 0 : r;
}

int physical_find_holders(Kernel *k, Address a, Holders *ret) {
        Address vf;
        int r = k->ops->find_holders(k, a, ret);

        for (unsigned i = 0; r >= 0 && (r = k->ops->virtual_function(k, a, i, &vf)) >= 0; i++) {
                Holders holders = {};

                r = unless_gone(k->ops->find_holders(k, vf, &holders));
                if (r >= 0)
                        add_holders(ret, &holders);
        }
        return r == -ENOENT ? 0 : r;
}

int physical_unbind_idle(Kernel *k, Address a, Holders *holders) {
        int r = k->ops->find_holders(k, a, holders);

        if (r < 0)
                return r;
        return holders->n > 0 ? -EBUSY : k->ops->unbind(k, a);
}

static int bind_unless_bound(Kernel *k, Address a, const char *driver) {
        DeviceFacts now;
        int r = k->ops->read_device(k, a, &now);

        return r < 0 || streq(now.driver, driver) ? r : k->ops->bind(k, a, driver);
}

static int bind_or_load(Kernel *k, Address a, const char *driver) {
        char loaded[NAME_MAX_LEN];
        int r = bind_unless_bound(k, a, driver);

        if (r != -ENOENT)
                return r;
        r = k->ops->load_module(k, driver, loaded);
        return r < 0 ? r : bind_unless_bound(k, a, driver);
}

int physical_bind_again(Kernel *k, Address a, const char *driver, const char *override) {
        int r = bind_or_load(k, a, driver), q;

        if (r != -ENODEV || streq(override, driver))
                return r;
        /* It was bound by an override that somebody has cleared since. */
        r = k->ops->set_override(k, a, driver);
        if (r >= 0)
                r = bind_or_load(k, a, driver);
        q = k->ops->set_override(k, a, override);
        return r < 0 ? r : q;
}

/* Virtual functions that were taken off their VFIO drivers, as they were before. */
typedef struct Taken {
        DeviceFacts facts[JOB_DEVICES_MAX];
        size_t n;
} Taken;

static int take_off(Kernel *k, Address vf, Taken *taken, Holders *ret) {
        Holders holders;
        DeviceFacts now;
        int r;

        r = k->ops->read_device(k, vf, &now);
        if (r < 0 || now.driver_kind != DRIVER_VFIO)
                return r;
        r = physical_unbind_idle(k, vf, &holders);
        if (r == -EBUSY)
                add_holders(ret, &holders);
        if (r >= 0 && taken->n < JOB_DEVICES_MAX)
                taken->facts[taken->n++] = now;
        return r;
}

/* Not every driver removes the virtual functions (nvme does not), and this one may not have let go. */
static int put_back(Kernel *k, const Taken *taken) {
        int r = 0;

        for (size_t i = 0; i < taken->n; i++) {
                const DeviceFacts *was = &taken->facts[i];
                DeviceFacts now;
                int q = k->ops->read_device(k, was->address, &now);

                if (q >= 0 && now.driver_kind == DRIVER_NONE)
                        q = physical_bind_again(k, was->address, was->driver, was->driver_override);
                q = unless_gone(q);
                r = r < 0 ? r : q;
        }
        return r;
}

static int take_all_off(Kernel *k, Address a, Taken *taken, Holders *ret) {
        Address vf;
        int r;

        for (unsigned i = 0; (r = k->ops->virtual_function(k, a, i, &vf)) >= 0; i++) {
                r = unless_gone(take_off(k, vf, taken, ret));
                if (r < 0)
                        return r == -ENOENT ? -EAGAIN
                                            : r; /* its driver is being loaded; it is not that there are no more */
        }
        return r == -ENOENT ? 0 : r;
}

int physical_unbind(Kernel *k, Address a, Holders *holders) {
        Taken taken;
        Address vf;
        int r, q;

        taken.n = 0;
        r = k->ops->virtual_function(k, a, 0, &vf);
        if (r >= 0)
                r = physical_find_holders(k, a, holders);
        if (r >= 0 && holders->n > 0)
                return -EBUSY;
        if (r >= 0)
                r = take_all_off(k, a, &taken, holders);
        else if (r == -ENOENT)
                r = 0;
        if (r >= 0)
                r = k->ops->unbind(k, a);
        q = put_back(k, &taken);
        return r < 0 ? r : q;
}
