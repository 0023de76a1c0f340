/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simops.h"
#include "util/text.h"

SimDevice *sim_physical_function(Sim *s, const SimDevice *d) {
        return d->facts.virtual_function ? sim_device(s, d->facts.physical_function) : NULL;
}

SimDevice *sim_virtual_function(Sim *s, const SimDevice *pf, unsigned i) {
        /* They come after it on its bus. */
        for (SimDevice *d = &s->devices[pf - s->devices] + 1; d < s->devices + s->n_devices; d++) {
                if (d->facts.address.domain != pf->facts.address.domain ||
                    d->facts.address.bus != pf->facts.address.bus)
                        break;
                if (d->facts.virtual_function && address_equal(d->facts.physical_function, pf->facts.address) &&
                    i-- == 0)
                        return d;
        }
        return NULL;
}

void sim_forget_virtual_functions(Sim *s, SimDevice *pf) {
        SimDevice *vf;

        SIM_FOREACH_FUNCTION (s, pf, pf->facts.virtual_functions, vf)
                sim_vanish(s, vf);
        pf->facts.virtual_functions = 0;
}

void sim_remove_virtual_functions(Sim *s, SimDevice *pf, SimDevice **ret_held) {
        SimDevice *vf;

        SIM_FOREACH_FUNCTION (s, pf, pf->facts.virtual_functions, vf) {
                if (sim_driver_kind(s, vf) == DRIVER_VFIO && vf->n_open > 0) {
                        sim_breach(s, SIM_BREACH_RESCAN_LOCK, vf);
                        sim_unbind(s, vf);
                        *ret_held = vf;
                        return;
                }
                sim_vanish(s, vf);
        }
        pf->facts.virtual_functions = 0;
}

int sim_set_virtual_functions(Sim *s, SimDevice *pf, uint32_t n, SimDevice **ret_held) {
        DriverKind kind = sim_driver_kind(s, pf);
        SimDevice *vf;

        if (pf->facts.virtual_functions_max == 0)
                return -ENOENT;
        if (n > pf->facts.virtual_functions_max)
                return -ERANGE;
        if (n == pf->facts.virtual_functions)
                return 0;
        if (kind != DRIVER_HOST && !(kind == DRIVER_VFIO && s->vfio_makes_functions))
                return -ENOENT;
        if (n > 0 && pf->facts.virtual_functions > 0)
                return -EBUSY;
        if (n == 0)
                sim_remove_virtual_functions(s, pf, ret_held);
        SIM_FOREACH_FUNCTION (s, pf, n, vf) {
                /* vfio-pci takes the virtual functions of its own physical ones. */
                if (kind == DRIVER_VFIO)
                        (void) text_copy(vf->override, sizeof(vf->override), sim_driver_name(s, pf));
                (void) sim_appear(s, vf, false);
                pf->facts.virtual_functions++;
        }
        return 0;
}

int sim_show_token(Sim *s, SimDevice *d, const char *vf_token) {
        const SimDevice *pf = sim_physical_function(s, d);

        if (pf)
                return sim_driver_kind(s, pf) == DRIVER_VFIO && !streq(vf_token, pf->vf_token) ? -EACCES : 0;
        (void) text_copy(d->vf_token, sizeof(d->vf_token), vf_token);
        return 0;
}

/* --- the operations --- */

int sim_op_virtual_function(Kernel *k, Address a, unsigned i, Address *ret) {
        Sim *s = sim_of(k);
        SimDevice *d, *vf;
        int r = sim_enter_device(s, "virtual_function", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        /* Also one that somebody has removed alone: the link to it stays. */
        vf = i < d->facts.virtual_functions ? sim_virtual_function(s, d, i) : NULL;
        if (!vf)
                return sim_leave(s, -ENOENT);
        *ret = vf->facts.address;
        return sim_leave(s, 0);
}

int sim_op_set_autoprobe(Kernel *k, Address a, bool on) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "set_autoprobe", a, &d);
        bool was;

        if (r < 0)
                return sim_leave(s, r);
        if (d->facts.virtual_functions_max == 0)
                return sim_leave(s, -ENOENT);
        was = !d->no_autoprobe;
        d->no_autoprobe = !on;
        return sim_leave(s, was);
}

int sim_op_set_virtual_functions(Kernel *k, Address a, uint32_t n) {
        Sim *s = sim_of(k);
        SimDevice *d, *held = NULL;
        int r = sim_enter_device(s, "set_virtual_functions", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        sim_wait_for_lock(s, d);
        r = sim_set_virtual_functions(s, d, n, &held);
        if (held)
                sim_hang(s, held);
        return sim_leave(s, r);
}
