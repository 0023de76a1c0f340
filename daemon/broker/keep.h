/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* The daemon keeps descriptors of leases: what was not handed out yet, copies of what was (attached, group), and those that claim parked
 * devices (reset-set). systemd's store has a copy of each, so that they are there after a restart; and nothing else of leases is in
 * it, since its copy of a device would hold up the release. */

/* Brings the store to what the run has now. Returns true if systemd was told to close something. */
bool keep_update(LeaseRun *run);
/* Closes the descriptors that we still have of those devices of a part, in a worker, since ours may be the last and the kernel then
 * resets the device. Returns 1 if that has begun, 0 if it is done. done gets the part. */
int keep_close(LeasePart *part, run_wanted_t wanted, task_done_t done);
/* After a restart: what the lease still needs, and is what its name says, is the run's again. */
void keep_take_back(LeaseRun *run);
/* Then: whatever nobody has taken is closed. */
void keep_close_rest(Broker *b);

/* The watch of an earlier daemon, -EBADF if there is none. */
int keep_take_back_watch(FdStore *s);
void keep_watch(FdStore *s, const Watch *w);
