/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "broker/release.h"
#include "bus/grant.h"
#include "bus/property.h"
#include "bus/verdict.h"
#include "core/errors.h"

static int append_fds(sd_bus_message *reply, const Handout *h) {
        int r = sd_bus_message_open_container(reply, 'a', "(ssh)");

        for (size_t i = 0; r >= 0 && i < h->n; i++) {
                const HandoutFd *f = &h->fds[i];
                char name[ADDRESS_TEXT_MAX] = "";

                if (streq(f->kind, "device"))
                        (void) snprintf(name, sizeof(name), "%s", ADDRESS(f->address));
                else if (streq(f->kind, "group"))
                        (void) snprintf(name, sizeof(name), "%d", f->group);
                /* sd-bus duplicates the descriptor. */
                r = sd_bus_message_append(reply, "(ssh)", f->kind, name, f->fd);
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
                r = sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}{sv}", "driver", "s", ld->driver, "group", "o",
                                          bus_group_path(ld->group, group), "reset-methods", "s",
                                          d ? d->facts.reset_methods : "", "pasid-bits", "y", ld->bound.pasid_bits,
                                          "hand-over", "s", hand_over_to_string(l->hand_over));
        if (r >= 0 && d)
                r = append_reset_set(reply, inv, d);
        if (r >= 0)
                r = append_regions(reply, inventory_group(inv, ld->group));
        if (r >= 0 && !isempty(ld->vf_token))
                r = sd_bus_message_append(reply, "{sv}", "vf-token", "s", ld->vf_token);
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
        if (l->hand_over == HAND_OVER_NONE || l->hand_over == HAND_OVER_NODE)
                return true;
        for (size_t i = 0; i < h->n; i++) {
                const HandoutFd *f = &h->fds[i];

                if ((streq(f->kind, "device") && address_equal(f->address, d->address)) ||
                    (streq(f->kind, "group") && f->group == d->group))
                        return true;
        }
        return false;
}

static int append_grant(sd_bus_message *reply, const Bus *bus, const Lease *l, const Handout *h) {
        int r = append_fds(reply, h);

        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sa{sv}}");
        for (size_t i = 0; r >= 0 && i < l->n_devices; i++)
                if (speaks_of(l, h, &l->devices[i]))
                        r = append_found(reply, bus, l, &l->devices[i]);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* path: of the lease, in front of all else; NULL for none. */
static int send(Bus *bus, Call *c, LeaseRun *run, const Handout *h, const char *path) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r = sd_bus_message_new_method_return(c->message, &reply);

        if (r >= 0 && path)
                r = sd_bus_message_append(reply, "o", path);
        if (r >= 0)
                r = append_grant(reply, bus, run->lease, h);
        if (r < 0)
                return r;
        handout_note(run, h);
        r = sd_bus_send(bus->bus, reply, NULL);
        handout_close(run, h);
        return r;
}

int grant_send(Bus *bus, Call *c, LeaseRun *run, const Handout *h, sd_bus_error *error) {
        char path[BUS_PATH_MAX];
        int r = unread_admit(&bus->unread, c, h->n, error);

        if (r <= 0)
                return r;
        r = send(bus, c, run, h, c->ready && !c->added ? bus_lease_path(run->lease, path) : NULL);
        if (r < 0)
                return r;
        call_end(c);
        return 1;
}

/* The devices that have joined, as many as fit. */
static int handout_added(const LeaseRun *run, const AddressList *added, Handout *ret) {
        _cleanup_free_ AddressList *wanted = calloc(1, sizeof(*wanted));
        Address culprit;

        *ret = (Handout) {};
        if (!wanted)
                return -ENOMEM;
        for (size_t i = 0; i < added->n && wanted->n < HANDOUT_FDS_MAX; i++) {
                const LeaseDevice *d = lease_device(run->lease, added->items[i]);

                if (d && d->role == ROLE_LEASED)
                        (void) address_list_add(wanted, added->items[i]);
        }
        /* None at all would mean: whatever there is. */
        return wanted->n == 0 || run->lease->hand_over == HAND_OVER_NONE ? 0
                                                                         : handout_devices(run, wanted, ret, &culprit);
}

int grant_deliver(Bus *bus, Call *c) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        Lease *l = ledger_lease(&bus->broker->ledger, c->lease);
        LeaseRun *run = l ? run_find(bus->broker, l) : NULL;
        Handout handout;
        int r = 0;

        if (!l || l->state != LEASE_ACTIVE)
                return bus_refuse(bus, c->message, c->client, ERROR_DEVICE_BUSY,
                                  "the lease was ended before it was handed out");
        if (c->added)
                r = handout_added(run, c->added, &handout);
        else
                handout_first(run, &handout);
        if (r >= 0)
                r = grant_send(bus, c, run, &handout, &error);
        if (r >= 0)
                return 1;
        if (c->added)
                release_devices(bus->broker, l, c->added);
        else
                release_begin(bus->broker, l, "it could not be handed out");
        return verdict_give_up(bus, c->message, c->client, r, &error);
}
