/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/stats.h"
#include "system/dict.h"
#include "util/macro.h"

int stats_ask(sd_bus *bus, const char *name, sd_bus_slot **slot, sd_bus_message_handler_t callback, void *userdata) {
        return sd_bus_call_method_async(bus, slot, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                        "org.freedesktop.DBus.Debug.Stats", "GetConnectionStats", callback, userdata,
                                        "s", name);
}

typedef struct Wanted {
        const char *name;
        uint32_t value;
} Wanted;

static int read_one(sd_bus_message *reply, const char *key, void *userdata) {
        Wanted *wanted = userdata;

        return streq(key, wanted->name) ? sd_bus_message_read(reply, "v", "u", &wanted->value)
                                        : sd_bus_message_skip(reply, "v");
}

uint32_t stats_read(sd_bus_message *reply, const char *name) {
        Wanted wanted = { .name = name };

        return sd_bus_message_is_method_error(reply, NULL) || dict_read(reply, read_one, &wanted) < 0 ? 0
                                                                                                      : wanted.value;
}
