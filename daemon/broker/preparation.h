/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"
#include "core/plan.h"

/* Makes devices of a lease ready for its client, by workers; at the end the caller is told, see acquire.h. */

int preparation_new(LeaseRun *run, const Plan *plan, bool initial, acquire_done_t done, void *userdata,
                    Preparation **ret);
/* The device is this preparation's, and so is its part until the worker has ended. */
void preparation_add(Preparation *p, Address a);
/* Ends one of which no work was begun; nobody is told. */
void preparation_forget(Preparation *p);

/* Starts the work: for a new lease, or for one that has its iommufd. */
void preparation_begin(Preparation *p);
void preparation_start_parts(Preparation *p);
