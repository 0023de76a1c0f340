/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/finding.h"
#include "core/inventory.h"
#include "core/policy.h"
#include "core/request.h"
#include "core/variant.h"

/* Which VFIO driver a device of a plan gets: the request's, else the reservation's, else the best match; plain vfio-pci wherever
 * PASIDs are wanted or nobody uses the device, pci-stub if its group is handed over whole. Fills in driver and module of ld, or finds what is against it. */
void choose_driver(const VariantTable *variants, const Request *request, const Device *d, const Reservation *res,
                   LeaseDevice *ld, Findings *findings);

/* Notes what the device has now, to be given back at the end, or finds what cannot be. */
void choose_original(const Device *d, LeaseDevice *ld, Findings *findings);
