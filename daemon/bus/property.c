/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/property.h"
#include "broker/enforce.h"
#include "core/resetset.h"
#include "util/text.h"

int property_append_words(sd_bus_message *reply, const char *words) {
        const char *w;
        size_t n;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        if (r < 0)
                return r;
        while (text_next_word(&words, &w, &n)) {
                char word[64];

                if (n >= sizeof(word))
                        continue;
                memcpy(word, w, n);
                word[n] = '\0';
                r = sd_bus_message_append(reply, "s", word);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_close_container(reply);
}

int property_append_lease(sd_bus_message *reply, const Lease *l) {
        char path[BUS_PATH_MAX];

        return sd_bus_message_append(reply, "o", bus_lease_path(l, path));
}

int property_append_group(sd_bus_message *reply, const Inventory *inv, int group) {
        char path[BUS_PATH_MAX];

        return sd_bus_message_append(reply, "o", bus_group_path(inventory_group(inv, group) ? group : -1, path));
}

int property_append_reset_set(sd_bus_message *reply, const Inventory *inv, const Device *d) {
        const Device *other;
        int r = sd_bus_message_open_container(reply, 'a', "s");

        INVENTORY_FOREACH_DEVICE (inv, other)
                if (r >= 0 && resetset_has(d, other))
                        r = sd_bus_message_append(reply, "s", ADDRESS(other->facts.address));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

const char *property_enforcement(const Broker *b, const Lease *l) {
        return enforcement_to_string(enforce_of(b, l));
}
