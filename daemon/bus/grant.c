/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/grant.h"
#include "bus/property.h"

static int append_fds(sd_bus_message *reply, const Handout *h) {
        int r = sd_bus_message_open_container(reply, 'a', "(ssh)");

        for (size_t i = 0; r >= 0 && i < h->n; i++) {
                bool is_device = streq(h->fds[i].kind, "device");

                /* sd-bus duplicates the descriptor. */
                r = sd_bus_message_append(reply, "(ssh)", h->fds[i].kind, is_device ? ADDRESS(h->fds[i].address) : "",
                                          h->fds[i].fd);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_regions(sd_bus_message *reply, const Group *g) {
        int r = sd_bus_message_open_container(reply, 'e', "sv");

        if (r >= 0)
                r = sd_bus_message_append(reply, "s", "reserved-regions");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "a(tts)");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(tts)");
        for (size_t i = 0; r >= 0 && g && i < g->facts.n_regions; i++)
                r = sd_bus_message_append(reply, "(tts)", g->facts.regions[i].start, g->facts.regions[i].end,
                                          g->facts.regions[i].type);
        for (int i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(reply);
        return r;
}

static int append_reset_set(sd_bus_message *reply, const Inventory *inv, const Device *d) {
        int r = sd_bus_message_open_container(reply, 'e', "sv");

        if (r >= 0)
                r = sd_bus_message_append(reply, "s", "reset-set");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "as");
        if (r >= 0)
                r = property_append_reset_set(reply, inv, d);
        for (int i = 0; r >= 0 && i < 2; i++)
                r = sd_bus_message_close_container(reply);
        return r;
}

static int append_found(sd_bus_message *reply, const Bus *bus, const Lease *l, const LeaseDevice *ld) {
        const Inventory *inv = &bus->broker->ledger.inventory;
        const Device *d = inventory_device(inv, ld->address);
        char group[BUS_PATH_MAX];
        int r = sd_bus_message_open_container(reply, 'e', "sa{sv}");

        if (r >= 0)
                r = sd_bus_message_append(reply, "s", ADDRESS(ld->address));
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}", "driver", "s", ld->driver, "group", "o",
                                          bus_group_path(ld->group, group), "reset-methods", "s",
                                          d ? d->facts.reset_methods : "", "pasid-bits", "y", ld->bound.pasid_bits);
        if (r >= 0 && d)
                r = append_reset_set(reply, inv, d);
        if (r >= 0)
                r = append_regions(reply, inventory_group(inv, ld->group));
        if (r >= 0 && l->hand_over == HAND_OVER_ATTACHED)
                r = sd_bus_message_append(reply, "{sv}{sv}{sv}", "devid", "u", ld->bound.devid, "ioas", "u", ld->ioas,
                                          "pt", "u", ld->pt);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static bool speaks_of(const Lease *l, const Handout *h, const LeaseDevice *d) {
        if (d->role != ROLE_LEASED)
                return false;
        if (l->hand_over == HAND_OVER_NONE)
                return true;
        for (size_t i = 0; i < h->n; i++)
                if (streq(h->fds[i].kind, "device") && address_equal(h->fds[i].address, d->address))
                        return true;
        return false;
}

int grant_append(sd_bus_message *reply, const Bus *bus, const Lease *l, const Handout *h) {
        int r = append_fds(reply, h);

        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sa{sv}}");
        for (size_t i = 0; r >= 0 && i < l->n_devices; i++)
                if (speaks_of(l, h, &l->devices[i]))
                        r = append_found(reply, bus, l, &l->devices[i]);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int grant_send(Bus *bus, sd_bus_message *reply, LeaseRun *run, const Handout *h) {
        int r;

        handout_note(run, h);
        r = sd_bus_send(bus->bus, reply, NULL);
        handout_close(run, h);
        return r;
}
