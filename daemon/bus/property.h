/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"

/* Small pieces that the property getters of all interfaces share. */

/* The head of a property getter; its userdata is the Bus. */
#define GETTER(name)                                                                                                   \
        static int name(_unused_ sd_bus *connection, const char *path, _unused_ const char *interface,                 \
                        _unused_ const char *property, sd_bus_message *reply, void *userdata,                          \
                        _unused_ sd_bus_error *error)

/* "as" of the words of a string. */
int property_append_words(sd_bus_message *reply, const char *words);
/* The object path of a lease, "/" without one. */
int property_append_lease(sd_bus_message *reply, const Lease *l);
int property_append_group(sd_bus_message *reply, const Inventory *inv, int group);
/* "as": the devices that a bus or slot reset of this one hits, itself included. */
int property_append_reset_set(sd_bus_message *reply, const Inventory *inv, const Device *d);
/* What holds a lease to its PASIDs; l NULL: what would hold a new one. */
const char *property_enforcement(const Broker *b, const Lease *l);
