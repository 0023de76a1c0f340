/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "twin/act.h"
#include "util/text.h"

/* One operation at a time, done to both kernels with the same arguments. */

static const Action *const all[] = { driver_actions,  file_actions,    table_actions,  legacy_actions,
                                     virtual_actions, hotplug_actions, process_actions };

void act_randomly(Twin *t) {
        unsigned sum = 0, n;

        if (t->n_pairs >= TWIN_PAIRS_MAX - TWIN_PAIRS_NEW)
                pair_close(t, &t->pairs[twin_below(t, (unsigned) t->n_pairs)]);
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                for (const Action *a = all[i]; a->run; a++)
                        sum += a->weight;
        n = twin_below(t, sum);
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                for (const Action *a = all[i]; a->run; n -= a->weight, a++)
                        if (n < a->weight) {
                                a->run(t);
                                return;
                        }
}

void act_clean_up(Twin *t) {
        bool differed = t->differs;

        while (t->n_pairs > 0)
                pair_close(t, &t->pairs[t->n_pairs - 1]);
        hotplug_rescan(t);
        virtual_clean_up(t);
        for (size_t i = 0; i < t->n_devices; i++) {
                Address a = t->devices[i];

                twin_note(t, "give %s back", ADDRESS(a));
                (void) t->real->ops->set_override(t->real, a, "");
                (void) SIM_OPS(t)->set_override(SIM_K(t), a, "");
                (void) t->real->ops->unbind(t->real, a);
                (void) SIM_OPS(t)->unbind(SIM_K(t), a);
        }
        for (size_t i = 0; i < t->n_devices; i++) {
                if (isempty(t->hosts[i]))
                        continue;
                int real = t->real->ops->bind(t->real, t->devices[i], t->hosts[i]);
                int sim = SIM_OPS(t)->bind(SIM_K(t), t->devices[i], t->hosts[i]);

                if (!differed)
                        twin_result(t, "bind to the host's driver", real, sim);
        }
}
