/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/finding.h"
#include "core/plan.h"
#include "core/world.h"

/* What a user may have how much of: leases, devices, locked memory, PASIDs. Says what the plan would exceed. */
void resources_judge(const World *w, const Caller *caller, const Usage *usage, const Request *request, const Plan *plan,
                     Findings *findings);
