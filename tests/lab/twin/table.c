/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <limits.h>

#include "twin/act.h"

/* Page tables and PASIDs. */

/* Few, so that they meet again, and those at the ends of what the lab's devices and the kernel take. */
static uint32_t some_pasid(Twin *t) {
        static const uint32_t pasids[] = { 0, 1, 1, 1, 2, 2, (1 << 20) - 1, 1 << 20, INT_MAX, INT_MAX + 1U };

        return pasids[twin_below(t, ARRAY_SIZE(pasids))];
}

static bool is_bound_to(Twin *t, const Pair *d, const Pair *i) {
        return d->devid.real != 0 && sim_file(t->sim, d->sim)->bound == sim_file(t->sim, i->sim)->serial;
}

/* What has the same number in another iommufd need not be of the same kind: a device is shown nothing but what is in its own. */
static Ids some_object(Twin *t, const Pair *d, const Pair *i) {
        const Ids choice[] = { i->ioas, i->ioas, i->ioas, i->table, i->table, i->table, d->devid, {} };
        Ids ids = choice[twin_below(t, ARRAY_SIZE(choice))];

        return is_bound_to(t, d, i) && ids.real != 0 ? ids : TWIN_NO_IDS;
}

/* A device and, mostly, the iommufd that it is bound to. */
static bool pick(Twin *t, Pair **ret_device, Pair **ret_iommufd) {
        Pair *d = pair_some(t, PAIR_DEVICE), *i = pair_some(t, PAIR_IOMMUFD);

        if (!d || !i)
                return false;
        for (size_t n = 0; n < t->n_pairs && d->devid.real == 0 && twin_below(t, 4) != 0; n++)
                d = pair_some(t, PAIR_DEVICE);
        for (size_t n = 0; n < t->n_pairs && twin_below(t, 16) != 0; n++)
                if (t->pairs[n].kind == PAIR_IOMMUFD && is_bound_to(t, d, &t->pairs[n]))
                        i = &t->pairs[n];
        *ret_device = d;
        *ret_iommufd = i;
        return true;
}

void table_alloc_ioas(Twin *t, Pair *i) {
        Ids ids = {};

        twin_note(t, "alloc_ioas in %d", i->real);
        twin_result(t, "alloc_ioas", t->real->ops->alloc_ioas(t->real, i->real, &ids.real),
                    SIM_OPS(t)->alloc_ioas(SIM_K(t), i->sim, &ids.sim));
        i->ioas = ids;
}

static void alloc_ioas(Twin *t) {
        Pair *p = pair_some(t, PAIR_IOMMUFD);

        if (p)
                table_alloc_ioas(t, p);
}

void table_alloc_for_pasids(Twin *t, const Pair *d, Pair *i) {
        Ids devid = is_bound_to(t, d, i) ? d->devid : TWIN_NO_IDS, ids = {};
        Ids of = twin_below(t, 2) ? i->ioas : some_object(t, d, i);
        int real, sim;

        twin_note(t, "alloc_pasid_table in %d for %u of %u", i->real, devid.real, of.real);
        real = t->real->ops->alloc_pasid_table(t->real, i->real, devid.real, of.real, &ids.real);
        sim = SIM_OPS(t)->alloc_pasid_table(SIM_K(t), i->sim, devid.sim, of.sim, &ids.sim);
        twin_result(t, "alloc_pasid_table", real, sim);
        if (real >= 0 && sim >= 0)
                i->table = ids;
}

static void alloc_pasid_table(Twin *t) {
        Pair *d, *i;

        if (pick(t, &d, &i))
                table_alloc_for_pasids(t, d, i);
}

static void attach_pasid_to(Twin *t, const Pair *d, Ids pt, uint32_t pasid) {
        twin_note(t, "attach_pasid %d (%s) to %u: %u", d->real, ADDRESS(d->address), pt.real, pasid);
        twin_result(t, "attach_pasid", t->real->ops->attach_pasid(t->real, d->real, pt.real, pasid),
                    SIM_OPS(t)->attach_pasid(SIM_K(t), d->sim, pt.sim, pasid));
}

static void detach_pasid_of(Twin *t, const Pair *d, uint32_t pasid) {
        twin_note(t, "detach_pasid %d (%s): %u", d->real, ADDRESS(d->address), pasid);
        twin_result(t, "detach_pasid", t->real->ops->detach_pasid(t->real, d->real, pasid),
                    SIM_OPS(t)->detach_pasid(SIM_K(t), d->sim, pasid));
}

/* The table that it got is none for PASIDs if the kernel has made it. */
static void attach(Twin *t) {
        Pair *d, *i;
        Ids pt;
        int real, sim;

        if (!pick(t, &d, &i))
                return;
        pt = some_object(t, d, i);
        twin_note(t, "attach %d (%s) to %u", d->real, ADDRESS(d->address), pt.real);
        real = t->real->ops->attach(t->real, d->real, &pt.real);
        sim = SIM_OPS(t)->attach(SIM_K(t), d->sim, &pt.sim);
        twin_result(t, "attach", real, sim);
        if (real >= 0 && sim >= 0 && twin_below(t, 2) == 0)
                attach_pasid_to(t, d, pt, some_pasid(t));
}

static void attach_pasid(Twin *t) {
        Pair *d, *i;

        if (pick(t, &d, &i))
                attach_pasid_to(t, d, some_object(t, d, i), some_pasid(t));
}

static void detach_pasid(Twin *t) {
        Pair *d, *i;

        if (pick(t, &d, &i))
                detach_pasid_of(t, d, some_pasid(t));
}

static void change_closed(Twin *t) {
        Pair *p = pair_some(t, PAIR_DEVICE), closed;

        if (!p)
                return;
        closed = *p;
        pair_close(t, p);
        attach_pasid_to(t, &closed, TWIN_NO_IDS, some_pasid(t));
        detach_pasid_of(t, &closed, some_pasid(t));
}

static void read_pasid_bits(Twin *t) {
        Address a = pair_device(t);
        uint8_t real = 0, sim = 0;

        twin_note(t, "read_pasid_bits %s", ADDRESS(a));
        twin_result(t, "read_pasid_bits", t->real->ops->read_pasid_bits(t->real, a, &real),
                    SIM_OPS(t)->read_pasid_bits(SIM_K(t), a, &sim));
        twin_same(t, "PASID bits", real, sim);
}

const Action table_actions[] = {
        { alloc_ioas, 4 },   { alloc_pasid_table, 8 }, { attach, 10 },         { attach_pasid, 14 },
        { detach_pasid, 4 }, { change_closed, 1 },     { read_pasid_bits, 1 }, {},
};
