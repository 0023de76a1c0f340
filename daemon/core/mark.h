/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/inventory.h"

/* What has to be remembered of a device that nobody leases, beyond the life of the daemon: that nobody can have it, or whose traces
 * it carries. A text of a few lines, "broken REASON" and "unclean UID". */

#define MARK_MAX 320

/* Returns the length, 0 if there is nothing to remember. */
size_t mark_encode(const Device *d, char buf[static MARK_MAX]);
/* Puts what is remembered on the device. -EBADMSG: nobody of us wrote that; the device is left alone. */
int mark_decode(const char *text, Device *d);
