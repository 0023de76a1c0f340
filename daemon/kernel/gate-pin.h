/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "util/macro.h"

/* Where the gate is pinned. Each version of it has a directory of its own, so that one that leases still depend on can stay beside
 * its successor; it is removed by the first start without such leases. */

#define GATE_BPFFS "/sys/fs/bpf"

/* Opens the directory of this version's pins and locks it (flock), without waiting. -ENOENT: there is none; -EBUSY: it is locked. */
int gate_pin_lock(int operation);
/* Opens a pinned map of this version. */
int gate_pin_open(const char *map);

/* An empty directory for the pins to be, GATE_PIN_NEW; and the step that makes them count, all at once. */
#define GATE_PIN_NEW GATE_BPFFS "/iommud_new"
int gate_pin_begin(void);
int gate_pin_commit(void);

/* Removes all gates that no lease depends on. -EBUSY: not all of them. */
int gate_pin_remove_unused(void);

/* Calls each for the pins of every other version, and then removes those that no lease depends on any more. */
void gate_pin_for_each_other(void (*each)(const char *directory, void *userdata), void *userdata);
int gate_pin_open_in(const char *directory, const char *map);
