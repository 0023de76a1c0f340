/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/finding.h"
#include "core/inventory.h"
#include "core/policy.h"
#include "core/request.h"
#include "core/variant.h"

/* Judges a request: Explain shows the findings, Acquire goes by the plan if none of them blocks. Pure: what it needs to know
 * is in its arguments, and it changes nothing. */

/* What a user has of us already. */
typedef struct Usage {
        uint32_t leases, devices; /* of this user; releasing ones count until their release is proven */
        uint32_t all_leases;
} Usage;

typedef struct World {
        const Inventory *inventory;
        const Config *config;
        const VariantTable *variants;
} World;

typedef struct Plan {
        LeaseDevice *devices; /* in the order of the request, then parked and held members */
        size_t n_devices;
        const Reservation *reservation; /* of the first device, NULL if it matches none */
} Plan;

void plan_clear(Plan *p);

/* All members of the groups that the request touches, for whoever has to refresh what it knows of them beforehand. */
int examine_scope(const Inventory *inv, const Request *request, AddressList *ret);

/* Returns 0 with findings and, if none blocks, a whole plan; -ENOMEM. What polkit has to be asked is among the findings. */
int examine(const World *w, const Caller *caller, const Usage *usage, const Request *request, Plan *ret_plan,
            Findings *ret_findings);
