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

/* What the kernel has counted in a level. */
void quota_read_counts(const Broker *b, const QuotaLevel *level, PasidCounts *ret);
