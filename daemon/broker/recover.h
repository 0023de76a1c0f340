/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* After a restart: the leases of the earlier daemon are taken up again, half-made ones are rolled back, and those whose clients
 * died meanwhile end. Comes after reread_all() and before anybody may ask for anything. */
int recover_leases(Broker *b);
