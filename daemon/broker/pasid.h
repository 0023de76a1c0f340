/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* Attaches or detaches a PASID of a device at its holder's wish, in a worker, by the copy of its descriptor that an attached lease
 * keeps. The gate counts it like one that the holder attaches.
 *
 * -EOPNOTSUPP: there is no such copy. -EBUSY: a worker is at work on the device. */
int pasid_start(LeaseRun *run, const LeaseDevice *d, const PasidOrder *order, pasid_done_t done, void *userdata);
