/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "util/macro.h"

#define BUS_NAME    "org.iommud1"
#define BUS_ROOT    "/org/iommud1"
#define BUS_LEASES  BUS_ROOT "/lease"
#define BUS_QUOTAS  BUS_ROOT "/quota"
#define BUS_MANAGER "org.iommud1.Manager"
#define BUS_DEVICE  "org.iommud1.Device"
#define BUS_GROUP   "org.iommud1.Group"
#define BUS_LEASE   "org.iommud1.Lease"
#define BUS_QUOTA   "org.iommud1.Quota"

#define _cleanup_bus_     _cleanup_(sd_bus_flush_close_unrefp)
#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)

/* All of these say what went wrong and return a negative errno. */
int bus_connect(sd_bus **ret);
int bus_new_call(sd_bus *bus, const char *path, const char *interface, const char *member, sd_bus_message **ret);
/* Waits as long as it takes: a reset takes up to a minute and polkit may ask a person. */
int bus_call(sd_bus *bus, sd_bus_message *call, sd_bus_message **ret_reply);
/* For what libsystemd itself cannot do: out of memory, a reply that is not as the contract says. */
int bus_fail(int r, const char *what);
