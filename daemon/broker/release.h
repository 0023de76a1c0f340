/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* The way back. The only proof that a device is free is an unbind from its VFIO driver that has returned; until then the lease
 * goes on counting against its owner, and the device is lent to nobody. */

/* Ends a lease, whatever state it is in; a second call does nothing. One that is being prepared ends when its workers have. */
void release_begin(Broker *b, Lease *l, const char *reason);
/* Devices leave an active lease by their holder's wish, once their descriptors are closed. Their group goes back to the host when
 * nothing of it is handed out any more; until then they are parked. */
void release_devices(Broker *b, Lease *l, const AddressList *devices);
/* Starts what can be started: what seems closed is proven free, and restored or parked. Ends the lease when all of it is free; the
 * run may be gone afterwards. */
void release_continue(LeaseRun *run);
/* The last descriptor behind this watch may be closed; -1: any may be. */
void release_note_closed(Broker *b, int wd);
