/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Tells the gate in the kernel how many PASIDs each cgroup may have and how many of these are booked: it holds those to the limits that
 * take PASIDs without a lease (SVA). */

/* After the leases of an earlier daemon are booked, and its settings read. */
void limit_start(Broker *b);
/* What is booked in this cgroup is another number now. */
void limit_update(Broker *b, const char *path);
/* Any of the limits may be another. */
void limit_update_all(Broker *b);
/* A device came, went, or has another driver: then so may nodes that are opened for SVA. */
void limit_note_nodes(Broker *b);

/* How many SVA has taken in each of the cgroups of a chain, from the root down. */
void limit_read_shared(const Broker *b, const PasidChain *chain, uint64_t ret[static PASID_LEVELS_MAX]);
/* To be called when a lease was just booked. -EDQUOT: SVA has taken meanwhile what it was judged to have. */
int limit_confirm(Broker *b, const Lease *l);
