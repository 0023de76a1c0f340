/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>
#include <systemd/sd-bus.h>

/* What lies in the bus for a connection or from it, as dbus-daemon tells root (Debug.Stats). dbus-broker has no such statistics, and needs
 * none: it makes the receiver answer for what it does not read. */

/* Asks about the connection of this name. */
int stats_ask(sd_bus *bus, const char *name, sd_bus_slot **slot, sd_bus_message_handler_t callback, void *userdata);
/* A number of the answer by its name; 0 if the bus does not tell, or the connection is gone. */
uint32_t stats_read(sd_bus_message *reply, const char *name);
