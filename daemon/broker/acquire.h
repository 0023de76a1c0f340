/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"
#include "core/plan.h"

/* Makes a lease of a plan that examine() has found nothing against. Takes the plan's devices over. done is called exactly once
 * (perhaps before this returns): with the lease, ready to be handed out, or with why it failed; by then everything is undone or on
 * its way back. A negative errno means that nothing was begun and done will not be called. */
int acquire_start(Broker *b, Plan *plan, const Request *request, const Client *client, acquire_done_t done,
                  void *userdata);

/* The devices of the plan join an active lease; done as above. -EBUSY: a worker is at its devices already. -ESHUTDOWN: the lease
 * is ending. */
int acquire_join(Broker *b, Lease *l, Plan *plan, acquire_done_t done, void *userdata);
