/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/finding.h"
#include "core/world.h"

/* The form in which devices are handed over: which one, if the caller leaves it open, and what stands against the one it is. */

/* Fills in the hand-over of a request that names none. It is what the kernel can do: unbound, or the legacy interface where there is
 * no iommufd, and for devices that can have PASIDs where nothing limits them. There it is group, whose descriptors go to the caller alone, unless a reservation grants it node and not group. */
void handover_choose(const World *w, const Caller *caller, Request *request);

/* A member that is not asked for and is on a VFIO driver, so that the legacy interface would open it. */
void handover_member_reachable(const Request *request, const Device *m, Findings *findings);
/* A device of the reset set of this one that would not be on a VFIO driver, which the kernel wants of each. */
void handover_reset_impossible(const Request *request, Address a, const Device *other, Findings *findings);

/* Says which one was chosen, and what the kernel or the form does not allow. */
void handover_judge(const World *w, const Request *request, Findings *findings);
