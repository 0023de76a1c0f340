/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Brings the inventory to what sysfs says, and tells of what is different. */

/* All devices and groups. */
int reread_all(Broker *b);
/* One device: it came, changed or went. What a worker is at work on is left alone. */
void reread_device(Broker *b, Address a);
/* One device that went, although another one may be in its place by now. */
void reread_removed(Broker *b, Address a);
