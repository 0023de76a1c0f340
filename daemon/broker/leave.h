/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* Lets devices leave the lease and the ledger, and only then looks at them: while some of a group were there, the others would be
 * taken for newcomers. */
void leave_lease(LeaseRun *run, const AddressList *list);
