/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/inventory.h"
#include "core/pasid.h"
#include "core/policy.h"
#include "core/request.h"
#include "core/variant.h"

/* All that a request is judged by, and by which nothing is changed. */

/* What a user has of us already. */
typedef struct Usage {
        uint32_t leases, devices; /* of this user; releasing ones count until their release is proven */
        uint32_t all_leases;
} Usage;

typedef struct World {
        const Inventory *inventory;
        const Config *config;
        const VariantTable *variants;
        const Quota *quota;
        Enforcement enforcement; /* of PASIDs, by this kernel */
} World;
