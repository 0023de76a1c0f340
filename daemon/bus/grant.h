/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/handout.h"
#include "bus/bus.h"

/* The answers that carry descriptors: "a(ssh)a{sa{sv}}", the descriptors, and what was found of the devices among them. That they are
 * handed out is written down before they are sent, and our copies are closed then. */

/* Answers and ends the call. 0: not yet, see unread_admit(); the message comes back to its handler. */
int grant_send(Bus *bus, Call *c, LeaseRun *run, const Handout *h, sd_bus_error *error);
/* Answers a call that is ready, with the lease in front of all else if that is new; or refuses and takes back what was made ready. */
int grant_deliver(Bus *bus, Call *c);
