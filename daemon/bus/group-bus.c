/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/property.h"
#include "core/viability.h"

/* org.iommud1.Group. The userdata of a getter is the Bus; the group is found anew by its path each time. */

static Group *group_at(const Bus *bus, const char *path) {
        int id;

        return bus_path_to_group(path, &id) < 0 ? NULL : inventory_group(&bus->broker->ledger.inventory, id);
}

GETTER(get_id) {
        const Group *g = group_at(userdata, path);

        return g ? sd_bus_message_append(reply, "u", (uint32_t) g->facts.id) : -ENOENT;
}

GETTER(get_type) {
        const Group *g = group_at(userdata, path);

        return g ? sd_bus_message_append(reply, "s", g->facts.type) : -ENOENT;
}

GETTER(get_lease) {
        const Group *g = group_at(userdata, path);

        return g ? property_append_lease(reply, g->lease) : -ENOENT;
}

GETTER(get_devices) {
        const Bus *bus = userdata;
        const Group *g = group_at(bus, path);
        char device[BUS_PATH_MAX];
        const Device *d;
        int r;

        if (!g)
                return -ENOENT;
        r = sd_bus_message_open_container(reply, 'a', "o");
        INVENTORY_FOREACH_DEVICE (&bus->broker->ledger.inventory, d)
                if (r >= 0 && d->facts.group == g->facts.id)
                        r = sd_bus_message_append(reply, "o", bus_device_path(d->facts.address, device));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_reserved_regions) {
        const Group *g = group_at(userdata, path);
        int r;

        if (!g)
                return -ENOENT;
        r = sd_bus_message_open_container(reply, 'a', "(tts)");
        for (size_t i = 0; r >= 0 && i < g->facts.n_regions; i++)
                r = sd_bus_message_append(reply, "(tts)", g->facts.regions[i].start, g->facts.regions[i].end,
                                          g->facts.regions[i].type);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_viable) {
        const Bus *bus = userdata;
        const Group *g = group_at(bus, path);
        Findings findings = {};
        bool viable;

        if (!g)
                return -ENOENT;
        viability_judge(&bus->broker->ledger.inventory, g, NULL, &findings);
        viable = !findings_first_block(&findings);
        findings_clear(&findings);
        return sd_bus_message_append(reply, "b", viable);
}

GETTER(get_blockers) {
        const Bus *bus = userdata;
        const Group *g = group_at(bus, path);
        Findings findings = {};
        int r;

        if (!g)
                return -ENOENT;
        viability_judge(&bus->broker->ledger.inventory, g, NULL, &findings);
        r = sd_bus_message_open_container(reply, 'a', "(sss)");
        for (size_t i = 0; r >= 0 && i < findings.n; i++) {
                const Finding *f = &findings.items[i];
                Address a;

                r = sd_bus_message_append(reply, "(sss)", address_parse(f->subject, &a) >= 0 ? f->subject : "",
                                          finding_code_to_string(f->code), f->text);
        }
        findings_clear(&findings);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

char *bus_group_changing[] = { (char *) "Devices",         (char *) "Viable", (char *) "Blockers",
                               (char *) "ReservedRegions", (char *) "Lease",  NULL };

const sd_bus_vtable bus_group_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "u", get_id, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Devices", "ao", get_devices, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Viable", "b", get_viable, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Blockers", "a(sss)", get_blockers, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ReservedRegions", "a(tts)", get_reserved_regions, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Type", "s", get_type, 0, 0),
        SD_BUS_PROPERTY("Lease", "o", get_lease, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};
