/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease.h"
#include "core/policy.h"

/* What a request that nothing stands against comes to. */
typedef struct Plan {
        LeaseDevice *devices; /* in the order of the request, then parked and held members */
        size_t n_devices;
        const Reservation *reservation; /* of the first device, NULL if it matches none */
        bool force_in_use;              /* what the host uses may be taken all the same */
} Plan;

void plan_clear(Plan *p);
