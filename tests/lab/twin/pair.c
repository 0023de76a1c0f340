/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include "twin/act.h"

/* Mostly one of a few neighbours, or nothing would come of it. */
size_t pair_index(Twin *t) {
        if (twin_below(t, 5) == 0)
                return twin_below(t, (unsigned) t->n_devices);
        return (t->favourite + twin_below(t, TWIN_NEIGHBOURS)) % t->n_devices;
}

Address pair_device(Twin *t) {
        return t->devices[pair_index(t)];
}

SimDevice *pair_sim(const Twin *t, Address a) {
        return sim_device(t->sim, a);
}

Numbers pair_group(const Twin *t, Address a) {
        DeviceFacts f;
        Numbers n = { -1, -1 };

        if (t->real->ops->read_device(t->real, a, &f) >= 0)
                n.real = f.group;
        if (SIM_OPS(t)->read_device(SIM_K(t), a, &f) >= 0)
                n.sim = f.group;
        return n;
}

/* Of that kind, if there is any. */
Pair *pair_some(Twin *t, PairKind kind) {
        size_t from = t->n_pairs ? twin_below(t, (unsigned) t->n_pairs) : 0;

        for (size_t i = 0; i < t->n_pairs; i++) {
                Pair *p = &t->pairs[(from + i) % t->n_pairs];

                if (p->kind == kind)
                        return p;
        }
        return NULL;
}

int pair_either(int r) {
        return r < 0 ? r : 0;
}

/* Keeps what both have opened. */
void pair_keep(Twin *t, Pair p) {
        twin_result(t, "open", pair_either(p.real), pair_either(p.sim));
        if (p.sim >= 0)
                t->sim->fds[p.sim].pid = SIM_PID_CLIENT; /* it is another process that looks for holders */
        if (p.real >= 0 && p.sim >= 0)
                t->pairs[t->n_pairs++] = p;
        else if (p.real >= 0)
                (void) close(p.real);
        else if (p.sim >= 0)
                (void) sim_close(t->sim, p.sim);
}

void pair_close(Twin *t, Pair *p) {
        twin_note(t, "close %d", p->real);
        t->real->ops->close_fd(t->real, p->real);
        SIM_OPS(t)->close_fd(SIM_K(t), p->sim);
        *p = t->pairs[--t->n_pairs];
}

void pair_close_all_of(Twin *t, Address a) {
        for (size_t i = t->n_pairs; i-- > 0;)
                if (t->pairs[i].kind == PAIR_DEVICE && address_equal(t->pairs[i].address, a))
                        pair_close(t, &t->pairs[i]);
}
