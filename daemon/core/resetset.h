/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/inventory.h"
#include "core/lease.h"
#include "core/request.h"

/* Reset sets: what a bus or slot reset of a device hits, and whether its owner may ever do one. A reset set is not a group: the one
 * says who is reset together, the other who can reach whose memory. */

typedef enum ResetMethod {
        RESET_FUNCTION, /* of the device alone, by whichever way it has */
        RESET_HOT,      /* of its whole reset set, by the bus or slot */
        _RESET_METHOD_MAX,
} ResetMethod;

const char *reset_method_to_string(ResetMethod m);

/* Are the two in one reset set? A device is in its own. */
bool resetset_has(const Device *d, const Device *other);

/* Why no hot reset of this device is possible whoever owns its set, as a text that goes on from "a hot reset of X is impossible: ";
 * false if it is possible. (The kernel may still refuse for a quirk that sysfs does not show: NO_BUS_RESET in drivers/pci/quirks.c.) */
bool resetset_obstacle(const Inventory *inv, const Device *d, char *buf, size_t size);

/* May its bus be reset once these devices have left their drivers? Only if they are the whole set: nothing keeps the driver of another
 * one away, not even from one that has none. */
bool resetset_is_idle(const Inventory *inv, const Device *d, const AddressList *going);

/* Do the groups of the lease cover everything that a reset of its devices hits? Then nobody else is disturbed by it. */
bool resetset_is_exclusive(const Inventory *inv, const Lease *l);
