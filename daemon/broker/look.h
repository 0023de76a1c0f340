/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Looks anew at all devices that a request touches: their facts at once, and in a worker what the host uses them for, since that
 * means to search /proc. What it finds is in the inventory when done is called. */

typedef struct Look Look;

/* result: 0 or a negative errno. The look is gone afterwards. */
typedef void (*look_done_t)(int result, void *userdata);

/* Returns 1 if there is nothing to wait for, and done will not be called. */
int look_start(Broker *b, const Request *request, look_done_t done, void *userdata);
