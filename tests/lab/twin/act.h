/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "twin/twin.h"

/* What the actions share. */

/* pair.c: what both have open, and which device it is to be */
size_t pair_index(Twin *t);
Address pair_device(Twin *t);
SimDevice *pair_sim(const Twin *t, Address a);
Numbers pair_group(const Twin *t, Address a);
Pair *pair_some(Twin *t, PairKind kind); /* NULL if there is none of that kind */
int pair_either(int r);                  /* without a descriptor's number */
void pair_keep(Twin *t, Pair p);
void pair_close(Twin *t, Pair *p);
void pair_close_all_of(Twin *t, Address a);

/* child.c: a process that has none of our descriptors */
pid_t child_start(int (*run)(Kernel *k, Address a), Address a);
int child_wait(pid_t pid); /* returns what run() did */

/* What may be done. A list ends with an empty one. */
typedef struct Action {
        void (*run)(Twin *t);
        unsigned weight;
} Action;

extern const Action driver_actions[], file_actions[], table_actions[], legacy_actions[], virtual_actions[],
        hotplug_actions[], process_actions[];

void driver_give_to_vfio(Twin *t, Address a); /* as a worker does it */
void file_find_holders(Twin *t, Address a);
void hotplug_rescan(Twin *t); /* all that were removed come back */
void table_alloc_ioas(Twin *t, Pair *i);
void table_alloc_for_pasids(Twin *t, const Pair *d, Pair *i);

/* virtual.c: finds out which virtual functions there can be, before the first sequence */
void virtual_learn(Twin *t);
/* Has it one that somebody has open? The kernel would wait for him, with all hotplug locked out. */
bool virtual_is_held(const Twin *t, Address a);
void virtual_clean_up(Twin *t);
