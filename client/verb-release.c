/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "event.h"
#include "inventory.h"
#include "names.h"
#include "say.h"
#include "util/text.h"
#include "verb.h"

static const char help[] = "iommuctl release [OPTIONS] LEASE\n\n"
                           "End a lease (by id, a unique beginning of it, or object path) and wait until its devices "
                           "are free. You may end your\n"
                           "own; others if polkit lets you.\n\n"
                           "      --reason TEXT  what the leaseholder and the journal are told\n"
                           "      --no-wait      return when the end has begun\n"
                           "  -h, --help         this text\n";

typedef struct Wait {
        sd_bus *bus;
        const char *path, *id;
        bool done, broken;
} Wait;

static void say_holders(sd_json_variant *holders) {
        for (size_t i = 0; i < sd_json_variant_elements(holders); i++) {
                sd_json_variant *h = sd_json_variant_by_index(holders, i);
                char user[NAMES_USER_MAX];

                names_user(json_number(h, "uid"), user, sizeof(user));
                say_error("waiting for %s (pid %" PRIu64 " of %s), which holds %s", json_text(h, "name"),
                          json_number(h, "pid"), user, json_text(h, "address"));
        }
}

static void on_properties(Wait *w, sd_json_variant *properties) {
        if (streq(json_text(properties, "State"), "broken")) {
                say_error("lease %s is broken: %s", w->id, json_text(properties, "StateReason"));
                w->done = w->broken = true;
                return;
        }
        say_holders(sd_json_variant_by_key(properties, "Holders"));
}

/* What happened while iommud was away was not heard. */
static void on_daemon_back(Wait *w) {
        _cleanup_inventory_ Inventory i = {};
        const Object *lease;

        if (inventory_load(w->bus, &i) < 0)
                return;
        lease = inventory_find(&i, w->path);
        if (lease)
                on_properties(w, lease->properties);
        else
                w->done = true;
}

static void on_event(const Event *e, void *userdata) {
        Wait *w = userdata;

        if (e->kind == EVENT_STOPPED)
                say_error("iommud stopped; waiting for it to come back");
        else if (e->kind == EVENT_STARTED)
                on_daemon_back(w);
        else if (!e->path || !streq(e->path, w->path))
                return;
        else if (e->kind == EVENT_CHANGED)
                on_properties(w, e->data);
        else if (e->kind == EVENT_REMOVED || (e->kind == EVENT_SIGNAL && streq(e->name, "Ended")))
                w->done = true;
}

/* Deadline 0: whoever asks for the end of a lease has talked to its holder, or cannot. */
static int call_revoke(sd_bus *bus, const char *path, const char *reason) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        r = bus_new_call(bus, path, BUS_LEASE, "Revoke", &call);
        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "sta{sv}", reason, UINT64_C(0), 0);
        if (r < 0)
                return bus_fail(r, "cannot write the request");
        return bus_call(bus, call, NULL);
}

static int find(const Inventory *i, const char *name, const Object **ret) {
        int r;

        r = inventory_find_lease(i, name, ret);
        if (r == -ENOTUNIQ)
                say_error("\"%s\" is the beginning of several leases; nothing was released", name);
        else if (r < 0)
                say_error("no lease \"%s\"; see: iommuctl list leases", name);
        return r;
}

static int release(const char *name, const char *reason, bool wait) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_inventory_ Inventory i = {};
        Wait w = {};
        EventWatch watch = { .handler = on_event, .userdata = &w };
        const Object *lease;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = inventory_load(bus, &i);
        if (r < 0)
                return r;
        r = find(&i, name, &lease);
        if (r < 0)
                return r;
        w = (Wait) { .bus = bus, .path = lease->path, .id = json_text(lease->properties, "Id") };
        if (wait) {
                /* Before the call, so that the end cannot be missed. */
                r = event_watch(bus, &watch);
                if (r < 0)
                        return r;
        }
        r = call_revoke(bus, lease->path, reason);
        if (r >= 0 && wait)
                r = event_wait(bus, &watch, &w.done);
        return r < 0 ? r : w.broken;
}

int verb_release(int argc, char **argv) {
        static const struct option options[] = {
                { "reason", required_argument, NULL, 'r' },
                { "no-wait", no_argument, NULL, 'n' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        char user[NAMES_USER_MAX], reason[256] = "";
        bool wait = true;
        int c;

        names_user(getuid(), user, sizeof(user));
        text_append(reason, sizeof(reason), "released by %s with iommuctl", user);
        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                switch (c) {
                case 'r':
                        if (!text_is_printable(optarg) || !text_copy(reason, sizeof(reason), optarg))
                                return say_usage("--reason wants printable ASCII, at most %zu characters",
                                                 sizeof(reason) - 1);
                        break;
                case 'n':
                        wait = false;
                        break;
                case 'h':
                        return say_help(help);
                default:
                        return VERB_USAGE;
                }
        }
        if (argc - optind != 1 || isempty(argv[optind]))
                return say_usage("release wants one lease");
        return release(argv[optind], reason, wait);
}
