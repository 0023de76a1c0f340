/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/handout.h"
#include "bus/bus.h"

/* The answers that carry descriptors: of Acquire and of TakeDevices. */

/* Appends "a(ssh)a{sa{sv}}": the descriptors, and what was found of the devices among them. */
int grant_append(sd_bus_message *reply, const Bus *bus, const Lease *l, const Handout *h);
/* Writes down that they are handed out, sends the answer and closes our copies. */
int grant_send(Bus *bus, sd_bus_message *reply, LeaseRun *run, const Handout *h);
