/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/finding.h"
#include "core/inventory.h"
#include "core/plan.h"
#include "core/policy.h"
#include "core/request.h"

/* Virtual functions of SR-IOV: who may have one, and when their number may change. */

/* A physical function and all of its virtual ones fit into one request, and so into one job. */
#define VIRTUAL_FUNCTIONS_MAX (REQUEST_DEVICES_MAX - 1)

#define VIRTUAL_FOREACH(inv, pf, vf)                                                                                   \
        INVENTORY_FOREACH_DEVICE (inv, vf)                                                                             \
                if (virtual_is_of(vf, pf))

static inline bool virtual_is_of(const Device *vf, const Device *pf) {
        return vf->facts.virtual_function && address_equal(vf->facts.physical_function, pf->facts.address);
}

/* The physical function of a virtual one; NULL for any other device. */
Device *virtual_physical(const Inventory *inv, const Device *d);
/* Is a worker changing how many virtual functions it or its physical function has? */
bool virtual_is_changing(const Inventory *inv, const Device *d);

/* What stands against lending a device because of the functions that it belongs to or that belong to it. granted: a reservation
 * grants it to this very caller. */
void virtual_judge_lending(const Inventory *inv, const Device *d, const Caller *caller, HandOver hand_over,
                           bool granted, Findings *findings);

/* What stands against taking these devices at once: a physical function that changes its driver may lose virtual ones. */
void virtual_judge_together(const Inventory *inv, const Plan *plan, Findings *findings);

/* What stands against the physical function having n virtual ones from now on, and which rights it takes. force_in_use: virtual
 * functions may go although the host uses them. Nothing to do is no finding. */
void virtual_judge_change(const Inventory *inv, const Device *pf, uint32_t n, bool force_in_use, const Caller *caller,
                          Findings *findings);
