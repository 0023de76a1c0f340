/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "util/macro.h"

/* Maps of the gate, by their descriptors. -ENOENT: it is not open. */

/* The number of a node as the kernel has it in an inode (MKDEV). */
static inline uint32_t gate_map_number(unsigned major, unsigned minor) {
        return major << 20 | minor;
}

int gate_map_put(int map, const void *key, const void *value, uint64_t flags);

typedef int (*gate_map_each_t)(int map, const void *key, void *userdata);

/* Calls each for every key; it may remove the entry. key and next have room for a key of that size. */
int gate_map_for_each(int map, void *key, void *next, size_t size, gate_map_each_t each, void *userdata);
