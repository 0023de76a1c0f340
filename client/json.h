/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-json.h>

#include "util/macro.h"

/* Values from the bus as JSON variants: one form serves the tables, --json and properties that this client does not
 * know yet. */

#define _cleanup_json_ _cleanup_(sd_json_variant_unrefp)

/* Reads the next complete value of a message. name is that of the property, signal or result that it belongs to: the
 * structs of those that we know become objects with named fields, others arrays. File descriptors become null. */
int json_read(sd_bus_message *m, const char *name, sd_json_variant **ret);

/* The same for all that is left of the message or container, as if it were one struct. */
int json_read_rest(sd_bus_message *m, const char *name, sd_json_variant **ret);

/* Fields of an object; "", 0 and false if there is none. */
const char *json_text(sd_json_variant *object, const char *key);
uint64_t json_number(sd_json_variant *object, const char *key);
bool json_flag(sd_json_variant *object, const char *key);

/* The i-th member of an object. */
const char *json_member(sd_json_variant *object, size_t i, sd_json_variant **ret_value);
size_t json_members(sd_json_variant *object);

/* Prints a document on stdout, indented for a terminal, else in one line. */
int json_print(sd_json_variant *v);
