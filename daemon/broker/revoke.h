/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* The ladder of a revocation, in time: which rung comes next and who may be killed is core/revoke.h's, the work is
 * worker/revoke.h's. Every lease that ends is on it, since one that is released can be stuck as well. */

/* Asks the leaseholder to let go; at the deadline (microseconds from now, some days at most, 0: at once) the lease ends, and the ladder is climbed. A
 * later revocation may only bring the deadline forward, or try a broken lease again. */
void revoke_start(Broker *b, Lease *l, const char *reason, uint64_t deadline_usec);
/* The same after a restart, for every lease that was found. */
void revoke_resume(LeaseRun *run);
/* The lease has begun to end: from when on it counts as stuck. */
void revoke_expect(LeaseRun *run);
/* The kernel has begun to take a device from its VFIO driver. If its client still has it, it is to let go at once. */
void revoke_note_unregistered(Broker *b, Address a);
