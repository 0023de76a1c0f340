/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "twin/act.h"
#include "util/text.h"

/* Virtual functions. While one of them is open nothing is done that would remove it: the real kernel would wait for its holder, who is
 * this program, with the lock that all hotplug takes. */

#define FUNCTIONS 3 /* of each device; to make more takes longer and shows nothing else */
#define TOO_MANY  1000

static bool makes_functions(const Twin *t, Address a) {
        const SimDevice *d = pair_sim(t, a);

        return d->facts.virtual_functions_max > 0;
}

bool virtual_is_held(const Twin *t, Address a) {
        for (size_t i = 0; i < t->n_functions; i++)
                if (address_equal(t->functions[i].physical_function, a) &&
                    pair_sim(t, t->functions[i].address)->n_open > 0)
                        return true;
        return false;
}

/* --- what is not there cannot be described: it is made once, and looked at --- */

static void learn_function(Twin *t, Address a) {
        DeviceFacts *f = &t->functions[t->n_functions];

        if (t->n_functions == TWIN_FUNCTIONS_MAX || t->n_devices == TWIN_DEVICES_MAX ||
            t->real->ops->read_device(t->real, a, f) < 0)
                abort();
        t->n_functions++;
        (void) text_copy(t->hosts[t->n_devices], NAME_MAX_LEN, f->driver);
        t->devices[t->n_devices++] = a;
}

static void learn_of(Twin *t, Address pf, const char *driver) {
        const KernelOps *ops = t->real->ops;
        Address vf;

        if (ops->set_virtual_functions(t->real, pf, FUNCTIONS) < 0)
                abort();
        for (unsigned i = 0; ops->virtual_function(t->real, pf, i, &vf) >= 0; i++)
                learn_function(t, vf);
        if (ops->unbind(t->real, pf) < 0)
                abort();
        if (ops->virtual_function(t->real, pf, 0, &vf) < 0)
                (void) text_copy(t->removers[t->n_removers++], NAME_MAX_LEN, driver);
        if (ops->bind(t->real, pf, driver) < 0 || ops->set_virtual_functions(t->real, pf, 0) < 0)
                abort();
}

void virtual_learn(Twin *t) {
        size_t n = t->n_devices;
        DeviceFacts f;

        for (size_t i = 0; i < n; i++)
                if (t->real->ops->read_device(t->real, t->devices[i], &f) >= 0 && f.virtual_functions_max > 0 &&
                    !isempty(f.driver))
                        learn_of(t, t->devices[i], f.driver);
}

/* --- actions --- */

/* Mostly one that has them, wherever the sequence is. */
static Address some_physical(Twin *t) {
        size_t from = twin_below(t, (unsigned) t->n_devices);

        for (size_t i = 0; i < t->n_devices && twin_below(t, 40) != 0; i++)
                if (makes_functions(t, t->devices[(from + i) % t->n_devices]))
                        return t->devices[(from + i) % t->n_devices];
        return pair_device(t);
}

static void set_virtual_functions(Twin *t) {
        static const uint32_t choice[] = { 0, 0, 1, FUNCTIONS - 1, FUNCTIONS, FUNCTIONS, TOO_MANY };
        Address a = some_physical(t);
        uint32_t n = choice[twin_below(t, ARRAY_SIZE(choice))];

        if (n == 0 && virtual_is_held(t, a))
                return;
        twin_note(t, "set_virtual_functions %s %u", ADDRESS(a), n);
        twin_result(t, "set_virtual_functions", t->real->ops->set_virtual_functions(t->real, a, n),
                    SIM_OPS(t)->set_virtual_functions(SIM_K(t), a, n));
}

static void set_autoprobe(Twin *t) {
        Address a = some_physical(t);
        bool on = twin_below(t, 2);

        twin_note(t, "set_autoprobe %s %d", ADDRESS(a), on);
        twin_result(t, "set_autoprobe", t->real->ops->set_autoprobe(t->real, a, on),
                    SIM_OPS(t)->set_autoprobe(SIM_K(t), a, on));
}

static void read_virtual_function(Twin *t) {
        Address a = some_physical(t), real = {}, sim = {};
        unsigned i = twin_below(t, FUNCTIONS + 1);

        twin_note(t, "virtual_function %s %u", ADDRESS(a), i);
        twin_result(t, "virtual_function", t->real->ops->virtual_function(t->real, a, i, &real),
                    SIM_OPS(t)->virtual_function(SIM_K(t), a, i, &sim));
        twin_same_text(t, "virtual_function", ADDRESS(real), ADDRESS(sim));
}

const Action virtual_actions[] = {
        { set_virtual_functions, 9 },
        { set_autoprobe, 4 },
        { read_virtual_function, 6 },
        {},
};

void virtual_clean_up(Twin *t) {
        for (size_t i = 0; i < t->n_devices; i++) {
                Address a = t->devices[i];

                if (!makes_functions(t, a))
                        continue;
                (void) t->real->ops->set_virtual_functions(t->real, a, 0);
                (void) SIM_OPS(t)->set_virtual_functions(SIM_K(t), a, 0);
                (void) t->real->ops->set_autoprobe(t->real, a, true);
                (void) SIM_OPS(t)->set_autoprobe(SIM_K(t), a, true);
        }
}
