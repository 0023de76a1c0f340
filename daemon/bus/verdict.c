/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "bus/verdict.h"
#include "core/errors.h"
#include "util/text.h"

/* Findings about the request itself: nobody has to be asked, and nothing looked at, to refuse for them. */
static bool is_about_request(FindingCode code) {
        switch (code) {
        case FINDING_INVALID:
        case FINDING_NO_SUCH_DEVICE:
        case FINDING_NOT_AN_ENDPOINT:
        case FINDING_NOT_A_MEMBER:
        case FINDING_NOT_AUTHORIZED:
        case FINDING_NO_GROUP:
        case FINDING_LIMIT:
        case FINDING_QUOTA:
        case FINDING_UNSUPPORTED:
                return true;
        default:
                return false;
        }
}

const Finding *verdict_first_block(const Findings *findings, bool about_request) {
        for (size_t i = 0; i < findings->n; i++)
                if (findings->items[i].severity == SEVERITY_BLOCK &&
                    (!about_request || is_about_request(findings->items[i].code)))
                        return &findings->items[i];
        return NULL;
}

int verdict_refuse(Bus *bus, sd_bus_message *m, const Client *client, const Finding *f) {
        return bus_refuse(bus, m, client, finding_error_name(f->code), "%s%s%s", f->text,
                          isempty(f->remedy) ? "" : "; ", f->remedy);
}

int verdict_give_up(Bus *bus, sd_bus_message *m, const Client *client, int r, sd_bus_error *error) {
        if (sd_bus_error_is_set(error)) {
                r = bus_refuse(bus, m, client, error->name, "%s", error->message);
                sd_bus_error_free(error);
                return r;
        }
        if (r == -ENOMEM)
                return bus_refuse(bus, m, client, SD_BUS_ERROR_NO_MEMORY, "out of memory");
        return bus_refuse(bus, m, client, ERROR_FAILED, "%s", strerror(-r));
}

int verdict_authorize(Bus *bus, sd_bus_message *m, const Client *client, const Client *charged,
                      const Findings *findings, sd_bus_error *error) {
        for (size_t i = 0; i < findings->n; i++) {
                const Finding *f = &findings->items[i];
                char ids[10] = "", group[16] = "";
                const Device *d = NULL;
                Address a;
                int r;

                if (f->severity != SEVERITY_ASK)
                        continue;
                if (address_parse(f->subject, &a) >= 0)
                        d = inventory_device(&bus->broker->ledger.inventory, a);
                if (d) {
                        (void) snprintf(ids, sizeof(ids), "%04x:%04x", d->facts.vendor, d->facts.device);
                        (void) snprintf(group, sizeof(group), "%d", d->facts.group);
                }
                PolkitQuestion q = {
                        .action = f->action,
                        .device = f->subject,
                        .ids = ids,
                        .group = group,
                        .driver = d ? d->facts.driver : "",
                        .reservation = f->reservation ? f->reservation : "",
                        .unit = client->unit,
                        .charged = charged ? &charged->caller : NULL,
                        .yes_if_absent = streq(f->action, ACTION_ACQUIRE_RESERVED),
                };
                r = polkit_check(bus->calls.polkit, m, &q, error);
                if (r <= 0)
                        return r;
        }
        return 1;
}

int verdict_append(sd_bus_message *reply, const Findings *findings) {
        int r = sd_bus_message_open_container(reply, 'a', "(ssssa{sv})");

        for (size_t i = 0; r >= 0 && i < findings->n; i++) {
                const Finding *f = &findings->items[i];

                r = sd_bus_message_open_container(reply, 'r', "ssssa{sv}");
                if (r >= 0)
                        r = sd_bus_message_append(reply, "ssss", finding_code_to_string(f->code),
                                                  severity_to_string(f->severity), f->subject, f->text);
                if (r >= 0)
                        r = sd_bus_message_open_container(reply, 'a', "{sv}");
                if (r >= 0 && !isempty(f->remedy))
                        r = sd_bus_message_append(reply, "{sv}", "remedy", "s", f->remedy);
                if (r >= 0 && f->action)
                        r = sd_bus_message_append(reply, "{sv}", "action", "s", f->action);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}
