/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/inventory.h"

/* What has to be remembered of a device that nobody leases, beyond the life of the daemon: that nobody can have it, whose traces it
 * carries, or which driver a worker takes it off. A text of a few lines, "broken REASON", "unclean UID" and "taken DRIVER OVERRIDE". */

#define MARK_MAX 512

/* Returns the length, 0 if there is nothing to remember. */
size_t mark_encode(const Device *d, char buf[static MARK_MAX]);
/* Puts what is remembered on the device. -EBADMSG: nobody of us wrote that; the device is left alone. */
int mark_decode(const char *text, Device *d);
