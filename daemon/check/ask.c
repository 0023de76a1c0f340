/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "check/ask.h"
#include "system/dict.h"
#include "util/text.h"

#define SERVICE     "org.iommud1"
#define ROOT        "/org/iommud1"
#define MANAGER     "org.iommud1.Manager"
#define BUS_SERVICE "org.freedesktop.DBus"
#define BUS_PATH    "/org/freedesktop/DBus"

static int ask_number(sd_bus *bus, const char *method, uint32_t *ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = sd_bus_call_method(bus, BUS_SERVICE, BUS_PATH, BUS_SERVICE, method, &error, &reply, "s", SERVICE);

        if (r < 0)
                return sd_bus_error_has_name(&error, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ? -ENXIO : r;
        r = sd_bus_message_read(reply, "u", ret);
        return r < 0 ? r : 0;
}

int ask_owner(sd_bus *bus, Owner *ret) {
        uint32_t uid, pid = 0;
        int r = ask_number(bus, "GetConnectionUnixUser", &uid);

        *ret = (Owner) {};
        if (r >= 0)
                r = ask_number(bus, "GetConnectionUnixProcessID", &pid);
        if (r < 0)
                return r == -ENXIO ? 0 : r;
        *ret = (Owner) { .there = true, .uid = uid, .pid = (int) pid };
        return 0;
}

static int call(sd_bus *bus, const char *interface, const char *method, const char *a, const char *b,
                sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = sd_bus_message_new_method_call(bus, &m, SERVICE, ROOT, interface, method);

        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, false);
        if (r >= 0 && a)
                r = sd_bus_message_append(m, "ss", a, b);
        return r < 0 ? r : sd_bus_call(bus, m, 0, NULL, ret);
}

static int read_remedy(sd_bus_message *m, const char *key, void *userdata) {
        return streq(key, "remedy") ? sd_bus_message_read(m, "v", "s", userdata) : sd_bus_message_skip(m, "v");
}

int ask_health(sd_bus *bus, ask_told_t told, void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = call(bus, "org.freedesktop.DBus.Properties", "Get", MANAGER, "Health", &m);

        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'v', "a(ssssa{sv})");
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "(ssssa{sv})");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "ssssa{sv}")) > 0) {
                const char *code, *severity, *subject, *text, *remedy = "";

                r = sd_bus_message_read(m, "ssss", &code, &severity, &subject, &text);
                if (r >= 0)
                        r = dict_read(m, read_remedy, &remedy);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r >= 0)
                        told(code, severity, subject, text, remedy, userdata);
        }
        return r < 0 ? r : 0;
}

/* --- devices --- */

typedef struct Seen {
        Address address;
        const char *driver, *state; /* live in the message */
} Seen;

typedef struct SeenList {
        Seen *items;
        size_t n, n_leases;
} SeenList;

static void seen_list_clear(SeenList *l) {
        free(l->items);
}

typedef struct DeviceTexts {
        const char *address, *driver, *state;
} DeviceTexts;

static int read_text(sd_bus_message *m, const char *key, void *userdata) {
        DeviceTexts *d = userdata;
        const char **to = streq(key, "Address")  ? &d->address
                          : streq(key, "Driver") ? &d->driver
                          : streq(key, "State")  ? &d->state
                                                 : NULL;

        return to ? sd_bus_message_read(m, "v", "s", to) : sd_bus_message_skip(m, "v");
}

static int read_device(sd_bus_message *m, SeenList *ret) {
        DeviceTexts texts = { "", "", "" };
        Seen *grown;
        int r = dict_read(m, read_text, &texts);

        if (r < 0)
                return r;
        grown = reallocarray(ret->items, ret->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        ret->items = grown;
        grown[ret->n] = (Seen) { .driver = texts.driver, .state = texts.state };
        r = address_parse(texts.address, &grown[ret->n].address);
        if (r < 0)
                return r;
        ret->n++;
        return 0;
}

static int read_object(sd_bus_message *m, SeenList *ret) {
        const char *interface;
        int r = sd_bus_message_skip(m, "o");

        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
                r = sd_bus_message_read(m, "s", &interface);
                if (r < 0)
                        return r;
                ret->n_leases += streq(interface, SERVICE ".Lease");
                r = streq(interface, SERVICE ".Device") ? read_device(m, ret) : sd_bus_message_skip(m, "a{sv}");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_objects(sd_bus_message *m, SeenList *ret) {
        int r = sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}")) > 0) {
                r = read_object(m, ret);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

static const Seen *find(const SeenList *seen, Address a) {
        for (size_t i = 0; i < seen->n; i++)
                if (address_equal(seen->items[i].address, a))
                        return &seen->items[i];
        return NULL;
}

static void complain(Findings *findings, Address a, const char *text) {
        finding_set_remedy(findings_add(findings, FINDING_OUT_OF_DATE, SEVERITY_WARN, ADDRESS(a), "%s", text),
                           "see that udev runs and tells of devices (udevadm monitor), then restart iommud");
}

static void compare(const Inventory *inv, const SeenList *seen, Findings *findings) {
        char text[160];
        const Device *d;

        INVENTORY_FOREACH_DEVICE (inv, d) {
                const Seen *s = find(seen, d->facts.address);

                text[0] = '\0';
                if (!s)
                        text_append(text, sizeof(text), "iommud does not know of it");
                /* Of what is under way, a moment ago is not now. */
                else if (!streq(s->driver, d->facts.driver) && !streq(s->state, "preparing") &&
                         !streq(s->state, "releasing"))
                        text_append(text, sizeof(text), "iommud believes it on the driver \"%s\", and it is on \"%s\"",
                                    s->driver, d->facts.driver);
                if (!isempty(text))
                        complain(findings, d->facts.address, text);
        }
        for (size_t i = 0; i < seen->n; i++)
                if (!inventory_device(inv, seen->items[i].address) && streq(seen->items[i].state, "free"))
                        complain(findings, seen->items[i].address, "iommud believes it there, and it is not");
}

int ask_devices(sd_bus *bus, const Inventory *inv, Findings *findings, size_t *ret_leases) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(seen_list_clear) SeenList seen = {};
        int r = call(bus, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", NULL, NULL, &m);

        if (r >= 0)
                r = read_objects(m, &seen);
        if (r < 0)
                return r;
        compare(inv, &seen, findings);
        *ret_leases = seen.n_leases;
        return 0;
}
