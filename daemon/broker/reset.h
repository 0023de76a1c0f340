/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* Resets a device of an active lease at its holder's wish, in a worker: the function alone by the copy of its descriptor that an
 * attached lease keeps, else the whole reset set, by that copy or by a parked device that a lease with reset-set has bound.
 *
 * -EOPNOTSUPP: there is no such descriptor, the holder has the only one. -EBUSY: a worker is at work on it. */
int reset_start(LeaseRun *run, const LeaseDevice *d, reset_done_t done, void *userdata);
