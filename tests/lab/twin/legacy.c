/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "twin/act.h"

/* The legacy interface. */

static void open_container(Twin *t) {
        Pair p = { .kind = PAIR_CONTAINER };

        p.real = t->real->ops->open_container(t->real);
        p.sim = SIM_OPS(t)->open_container(SIM_K(t));
        twin_note(t, "open_container -> %d", p.real);
        pair_keep(t, p);
}

static void open_group(Twin *t) {
        Address a = pair_device(t);
        Numbers group = pair_group(t, a);
        Pair p = { .kind = PAIR_GROUP, .group = pair_sim(t, a)->group };

        p.real = t->real->ops->open_group(t->real, group.real);
        p.sim = SIM_OPS(t)->open_group(SIM_K(t), group.sim);
        twin_note(t, "open_group %d of %s -> %d", p.group, ADDRESS(a), p.real);
        pair_keep(t, p);
}

static void set_container(Twin *t) {
        const Pair *g = pair_some(t, PAIR_GROUP), *c = pair_some(t, PAIR_CONTAINER);

        if (!g || !c)
                return;
        twin_note(t, "set_container of %d (group %d) to %d", g->real, g->group, c->real);
        twin_result(t, "set_container", t->real->ops->set_container(t->real, g->real, c->real),
                    SIM_OPS(t)->set_container(SIM_K(t), g->sim, c->sim));
}

/* The one that the group is in, if it is in one. */
static const Pair *container_for(Twin *t, const Pair *g) {
        for (size_t i = 0; i < t->n_pairs; i++)
                if (t->pairs[i].kind == PAIR_CONTAINER &&
                    sim_file(t->sim, t->pairs[i].sim)->serial == sim_file(t->sim, g->sim)->bound)
                        return &t->pairs[i];
        return sim_file(t->sim, g->sim)->bound == 0 ? pair_some(t, PAIR_CONTAINER) : NULL;
}

static void open_by_group(Twin *t) {
        const Pair *g = pair_some(t, PAIR_GROUP), *c = g ? container_for(t, g) : NULL;
        Pair p = { .kind = PAIR_DEVICE };
        BoundFacts real = {}, sim = {};

        if (!c)
                return;
        p.address = pair_device(t);
        for (size_t i = 0; i < t->n_devices && twin_below(t, 8) != 0; i++)
                if (pair_sim(t, t->devices[i])->group == g->group)
                        p.address = t->devices[i];
        p.real = t->real->ops->open_by_group(t->real, g->real, c->real, p.address, &real);
        p.sim = SIM_OPS(t)->open_by_group(SIM_K(t), g->sim, c->sim, p.address, &sim);
        twin_note(t, "open_by_group %d (group %d) and %d: %s -> %d", g->real, g->group, c->real, ADDRESS(p.address),
                  p.real);
        pair_keep(t, p);
        twin_result(t, "can_reset", real.can_reset, sim.can_reset);
}

const Action legacy_actions[] = {
        { open_container, 3 }, { open_group, 6 }, { set_container, 8 }, { open_by_group, 10 }, {},
};
