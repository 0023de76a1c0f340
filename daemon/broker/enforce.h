/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* Tells the gate in the kernel what each lease may have, see kernel/gate.h. */

/* Takes up the gate. loaded: how it went to put it into the kernel. Before the leases of an earlier daemon are taken up. */
void enforce_begin(Broker *b, int loaded);
/* Why there is no gate, in words. */
const char *enforce_why_not(int r);
/* After that: what the gate knows of leases that are no more goes. */
void enforce_settle(Broker *b);

/* A lease that is new or has new devices, before anything of them is handed out: looks at the devices anew, and tells the gate. */
int enforce_lease(LeaseRun *run, bool is_new);
/* Its state or its devices are others now. A failure is logged, too. */
int enforce_update(LeaseRun *run);
/* It has ended: all its devices are proven free. */
void enforce_end(LeaseRun *run);

/* What holds a lease to its PASIDs; NULL: what would hold a new one. */
Enforcement enforce_of(const Broker *b, const Lease *l);
