/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Watches the groups that leases own: somebody binds a host driver to a free member, adds a function, or pulls a card. The
 * leaseholder is told, and what has no driver yet is taken for the lease before one can get it. */

/* A device was looked at; is_new: for the first time. */
void newcomer_judge(Broker *b, Device *d, bool is_new);
/* A worker is done with a lease's devices: newcomers may have waited for that, or come meanwhile. */
void newcomer_look_again(Broker *b, const Lease *l);
/* A leased device went away. */
void newcomer_note_gone(Broker *b, Device *d);
