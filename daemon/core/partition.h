/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease.h"

/* Divides the devices of a lease into parts that have neither a group nor a reset set in common: each part can be prepared and
 * released without regard to the others, by a worker of its own. part[i] becomes the number of the part of devices[i], numbered
 * from 0 in the order of their first device. Returns how many parts there are. */
size_t partition_devices(const LeaseDevice *devices, size_t n, size_t *part);
