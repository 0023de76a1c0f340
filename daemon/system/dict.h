/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* Reads the value of this key, a variant, or skips it. */
typedef int (*dict_entry_t)(sd_bus_message *m, const char *key, void *userdata);

/* Reads an a{sv} whole, up to the first entry that returns a negative errno. */
int dict_read(sd_bus_message *m, dict_entry_t entry, void *userdata);
