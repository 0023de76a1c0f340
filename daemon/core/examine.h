/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/finding.h"
#include "core/plan.h"
#include "core/world.h"

/* Judges a request: Explain shows the findings, Acquire goes by the plan if none of them blocks. Pure: what it needs to know
 * is in its arguments, and it changes nothing. */

/* All members of the groups that the request touches, for whoever has to refresh what it knows of them beforehand. */
int examine_scope(const Inventory *inv, const Request *request, AddressList *ret);

/* Returns 0 with findings and, if none blocks, a whole plan; -ENOMEM. What polkit has to be asked is among the findings. */
int examine(const World *w, const Caller *caller, const Usage *usage, const Request *request, Plan *ret_plan,
            Findings *ret_findings);
