/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Limits of PASIDs: where they come from, what is told of them, and what has really happened. Booking is the ledger's. */

/* Reads what was set on the bus before this daemon was started. */
void quota_start(Broker *b);
/* To be called when leases began or ended: tells of the levels that came, went or changed. */
void quota_publish(Broker *b);
/* The same when any of the limits may be another. */
void quota_note_limits(Broker *b);

/* Sets the limit of a cgroup, until reboot or for good; QUOTA_UNLIMITED takes back what was set. What is booked already stays.
 * -ENOENT: there is no such cgroup. -EPERM: it is below a delegated one, whose path is in boundary then. -E2BIG: it is too deep.
 * -EOPNOTSUPP: there is no cgroup v2. Others: it could not be written down, and nothing has changed. */
int quota_set_limit(Broker *b, const char *cgroup, uint64_t limit, bool runtime, char boundary[static QUOTA_PATH_MAX]);

/* What the kernel has counted in a level. */
void quota_read_counts(const Broker *b, const QuotaLevel *level, PasidCounts *ret);
